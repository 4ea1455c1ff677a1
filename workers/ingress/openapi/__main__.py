"""`python -m workers.ingress.openapi` prints the OpenAPI document; it needs no setting."""

import json
import sys

from workers.ingress.app import create_api

if __name__ == "__main__":
    json.dump(create_api().openapi(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
