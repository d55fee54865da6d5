"""Outside systems, one module each. They know ``contacts.events`` and nobody else of the project."""
