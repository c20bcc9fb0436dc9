"""What runs beside the command line: the embedded PostgreSQL, Airflow and the project's own services."""
