"""What answers are made of: frozen attrs classes, one module for each resource.

Fields have the names of the JSON keys. Which status code means what is decided in `closing.phase`,
how JSON becomes one of these in `converter`.
"""
