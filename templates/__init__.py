"""What contacts read: ``render`` holds the engine, ``messages`` the copy, ``content`` what the copy is about."""
