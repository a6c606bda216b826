"""The metadata every SQLAlchemy table of the application hangs on. The schema itself is made by migrations alone."""

from sqlalchemy import MetaData

metadata = MetaData(schema="broker")
