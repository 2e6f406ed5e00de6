"""Bulk tagging: files in, files out, in constant memory, over processes or Ray, and resumable. See docs/bulk.md."""
