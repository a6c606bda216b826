"""The application: who may do what, with whose credential, how often, and the record of it. See README.md."""
