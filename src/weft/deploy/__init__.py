"""Deploy: programs as native libraries for this and other machines."""

from .export import Exported, export

__all__ = ["Exported", "export"]
