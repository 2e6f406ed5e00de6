"""The HTTP service: `POST /ner` over a student, with a teacher as fallback. `service.app.create_app` builds it."""
