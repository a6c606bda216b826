"""The database: connections, roles, the tenant scope, migrations and the embedded server.

Promises: every statement about a tenant runs in a transaction scoped to that tenant (row-level security does the rest);
serving holds only the role `keyreeve_app`; the schema and the SQL functions are the ones this code was written against.
"""
