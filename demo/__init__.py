"""The web demo's parts; `app.py` puts them together. Nothing else imports this room."""
