from django.db import migrations

# A rebuild of the table (as some ALTERs are on SQLite) drops its triggers: a migration
# that does so makes them anew.
SQLITE = (
    "CREATE VIRTUAL TABLE runs_search USING fts5(search, content='runs_runevent', "
    "content_rowid='id', tokenize='unicode61')",
    "INSERT INTO runs_search(rowid, search) "
    "SELECT id, search FROM runs_runevent WHERE search <> ''",
    "CREATE TRIGGER runs_search_add AFTER INSERT ON runs_runevent "
    "WHEN new.search <> '' BEGIN "
    "INSERT INTO runs_search(rowid, search) VALUES (new.id, new.search); END",
    "CREATE TRIGGER runs_search_remove AFTER DELETE ON runs_runevent "
    "WHEN old.search <> '' BEGIN INSERT INTO runs_search(runs_search, rowid, search) "
    "VALUES ('delete', old.id, old.search); END",
)
SQLITE_BACK = (
    "DROP TRIGGER runs_search_remove",
    "DROP TRIGGER runs_search_add",
    "DROP TABLE runs_search",
)
POSTGRESQL = (
    "CREATE INDEX event_words ON runs_runevent "
    "USING gin (to_tsvector('simple', search)) WHERE search <> ''",
)
POSTGRESQL_BACK = ("DROP INDEX event_words",)


def make(apps, schema_editor):
    postgresql = schema_editor.connection.vendor == "postgresql"
    run(schema_editor, POSTGRESQL if postgresql else SQLITE)


def unmake(apps, schema_editor):
    postgresql = schema_editor.connection.vendor == "postgresql"
    run(schema_editor, POSTGRESQL_BACK if postgresql else SQLITE_BACK)


def run(schema_editor, statements):
    for statement in statements:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("runs", "0006_fill_the_words_of_items")]

    operations = [migrations.RunPython(make, unmake)]
