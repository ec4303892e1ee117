"""Run in the environment of peers: the DDL and the views in Spark SQL over the archive's files, the rows of each view as JSON.

    python spark_twin.py FOLDER

reads ``FOLDER/asked.json`` (the statements, the views, where each table's manifests lie) and writes ``FOLDER/answered.json``.
"""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path

from pyspark.sql import SparkSession


def plain(value):
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text("utf-8"))
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        # Spark would take ${dt} for a variable of its own.
        .config("spark.sql.variable.substitute", "false")
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.hadoop.javax.jdo.option.ConnectionURL", f"jdbc:derby:;databaseName={folder}/derby;create=true")
        .config("spark.driver.extraJavaOptions", f"-Dderby.stream.error.file={folder}/derby.log -Duser.timezone=UTC")
        .enableHiveSupport()
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    for statement in asked["ddl"]:
        spark.sql(statement)
    types = {}
    for name, manifests in asked["manifests"].items():
        made = spark.table(f"{asked['database']}.{name}").schema
        types[name] = {field.name: field.dataType.simpleString() for field in made}
        # Spark follows no symbolic links to Parquet, as Athena does: the manifests are read here, and the files by Spark.
        paths = [line for path in manifests for line in Path(path).read_text("utf-8").splitlines()]
        reader = spark.read.schema(made)
        rows = (
            reader.option("basePath", f"{asked['root']}{name}/").parquet(*paths)
            if paths
            else spark.createDataFrame([], made)
        )
        rows.createOrReplaceTempView(name)
    answers = {}
    for name, sql in asked["views"].items():
        rows = spark.sql(sql)
        rows.createOrReplaceTempView(name)
        answers[name] = {"columns": rows.columns, "rows": [[plain(value) for value in row] for row in rows.collect()]}
    (folder / "answered.json").write_text(json.dumps({"types": types, "views": answers}), "utf-8")
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
