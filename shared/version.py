"""The version of this code, also where it runs without being installed, as in the image."""

VERSION = "0.1.0"
