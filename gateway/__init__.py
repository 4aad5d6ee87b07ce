"""One endpoint for sales opportunities; configuration decides which CRM answers."""

__version__ = "0.1.0"
