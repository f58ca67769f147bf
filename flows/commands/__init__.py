"""The commands of `changeover`: each says what it does in its help, and imports what it needs when it runs."""
