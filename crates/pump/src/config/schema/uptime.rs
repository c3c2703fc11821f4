//! `uptime_pump_config`: where uptime data goes.

use super::{
    Kind::{Bool, Int, Secret, Text, Uint},
    Section, setting,
};

/// The uptime pump: the options of a Mongo and of an SQL pump in one object, and a choice.
#[rustfmt::skip]
pub const UPTIME: Section = Section {
    key: "uptime_pump_config",
    prefixes: &["TYK_PMP_UPTIMEPUMPCONFIG_"],
    ours: false,
    objects: &["postgres", "mysql"],
    settings: &[
        setting("uptime_type", "UPTIMETYPE", Text, "mongo", "`sql` writes to an SQL database, anything else to MongoDB."),
        setting("mongo_url", "MONGOURL", Secret, "", "MongoDB: connection string."),
        setting("mongo_use_ssl", "MONGOUSESSL", Bool, "false", "MongoDB: TLS."),
        setting("mongo_ssl_insecure_skip_verify", "MONGOSSLINSECURESKIPVERIFY", Bool, "false", "MongoDB: does not verify the server's certificate."),
        setting("mongo_ssl_allow_invalid_hostnames", "MONGOSSLALLOWINVALIDHOSTNAMES", Bool, "false", "MongoDB: accepts certificates of other hosts."),
        setting("mongo_ssl_ca_file", "MONGOSSLCAFILE", Text, "", "MongoDB: PEM file of the authorities to trust."),
        setting("mongo_ssl_pem_keyfile", "MONGOSSLPEMKEYFILE", Text, "", "MongoDB: PEM file of the client's certificate and key."),
        setting("mongo_db_type", "MONGO_DB_TYPE", Int, "0", "0 is MongoDB, 1 Amazon DocumentDB, 2 Azure Cosmos DB. The bare variable `MONGO_DB_TYPE` counts too."),
        setting("omit_index_creation", "OMITINDEXCREATION", Bool, "false", "MongoDB: makes no indexes."),
        setting("mongo_session_consistency", "MONGOSESSIONCONSISTENCY", Text, "", "MongoDB: consistency of reads."),
        setting("driver", "MONGODRIVERTYPE", Text, "mongo-go", "Accepted for the sake of old configurations."),
        setting("mongo_direct_connection", "MONGODIRECTCONNECTION", Bool, "false", "MongoDB: talks to the named server alone."),
        setting("collection_name", "COLLECTIONNAME", Text, "tyk_uptime_analytics", "MongoDB: collection."),
        setting("max_insert_batch_size_bytes", "MAXINSERTBATCHSIZEBYTES", Int, "10485760", "MongoDB: bytes of one insert."),
        setting("max_document_size_bytes", "MAXDOCUMENTSIZEBYTES", Int, "10485760", "MongoDB: bytes of one document."),
        setting("collection_cap_max_size_bytes", "COLLECTIONCAPMAXSIZEBYTES", Int, "5368709120", "MongoDB: size of a capped collection."),
        setting("collection_cap_enable", "COLLECTIONCAPENABLE", Bool, "false", "MongoDB: makes a capped collection."),
        setting("retention_days", "RETENTIONDAYS", Uint, "0", "MongoDB, and SQL with `table_sharding`: days that data stay; 0: for ever."),
        setting("expire_documents", "EXPIREDOCUMENTS", Bool, "false", "MongoDB: documents go at their `expireAt`."),
        setting("type", "TYPE", Text, "", "SQL: `postgres` or `mysql`."),
        setting("connection_string", "CONNECTIONSTRING", Secret, "", "SQL: connection string."),
        setting("postgres.prefer_simple_protocol", "POSTGRES_PREFERSIMPLEPROTOCOL", Bool, "false", "Postgres: no prepared statements."),
        setting("mysql.default_string_size", "MYSQL_DEFAULTSTRINGSIZE", Uint, "0", "MySQL: length of text columns."),
        setting("mysql.disable_datetime_precision", "MYSQL_DISABLEDATETIMEPRECISION", Bool, "false", "MySQL: times without fractions."),
        setting("mysql.dont_support_rename_index", "MYSQL_DONTSUPPORTRENAMEINDEX", Bool, "false", "MySQL: drops and makes indexes instead of renaming them."),
        setting("mysql.dont_support_rename_column", "MYSQL_DONTSUPPORTRENAMECOLUMN", Bool, "false", "MySQL: changes columns instead of renaming them."),
        setting("mysql.skip_initialize_with_version", "MYSQL_SKIPINITIALIZEWITHVERSION", Bool, "false", "MySQL: does not ask for the server's version."),
        setting("table_sharding", "TABLESHARDING", Bool, "false", "SQL: a table a day."),
        setting("log_level", "LOGLEVEL", Text, "", "SQL: which statements are logged: `debug`, `info`, `warning` or none."),
        setting("batch_size", "BATCHSIZE", Int, "1000", "SQL: rows of one insert."),
        setting("migrate_sharded_tables", "MIGRATESHARDEDTABLES", Bool, "false", "SQL: migrates the tables of earlier days too."),
    ],
};
