"""The OpenAPI document: what FastAPI generates, completed by what all operations have in common."""

from workers.ingress.openapi.complete import complete_document

__all__ = ["complete_document"]
