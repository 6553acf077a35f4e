"""The version of the kit, for every room."""

VERSION = "0.1.0"
