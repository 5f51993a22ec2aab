"""Deploy: programs as native libraries for this and other machines."""
