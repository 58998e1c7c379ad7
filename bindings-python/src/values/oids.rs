//! The built-in types that have a loader of their own or whose arrays are loaded as lists: what psycopg 3 knows without
//! being told. Everything else is the server's text, or the bytes of its binary form.

macro_rules! oids {
    ($($name:ident = $oid:literal),* $(,)?) => {$(pub(crate) const $name: u32 = $oid;)*};
}

oids! {
    BOOL = 16, BYTEA = 17, CHAR = 18, NAME = 19, INT8 = 20, INT2 = 21, INT4 = 23, TEXT = 25, OID = 26, JSON = 114,
    FLOAT4 = 700, FLOAT8 = 701, CIDR = 650, INET = 869, TEXT_ARRAY = 1009, BPCHAR = 1042, VARCHAR = 1043, DATE = 1082,
    TIME = 1083, TIMESTAMP = 1114, TIMESTAMPTZ = 1184, INTERVAL = 1186, TIMETZ = 1266, NUMERIC = 1700, RECORD = 2249,
    UUID = 2950, JSONB = 3802, INT4RANGE = 3904, NUMRANGE = 3906, TSRANGE = 3908, TSTZRANGE = 3910, DATERANGE = 3912,
    INT8RANGE = 3926, INT4MULTIRANGE = 4451, NUMMULTIRANGE = 4532, TSMULTIRANGE = 4533, TSTZMULTIRANGE = 4534,
    DATEMULTIRANGE = 4535, INT8MULTIRANGE = 4536,
}

/// A type, its array, and what separates the elements of that in text.
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) oid: u32,
    pub(crate) array: u32,
    pub(crate) delimiter: u8,
}

macro_rules! builtins {
    ($($name:literal $oid:literal $array:literal),* $(,)?) => {
        /// All of them, by OID.
        pub(crate) const BUILTINS: &[Builtin] = &[$(Builtin {
            name: $name, oid: $oid, array: $array, delimiter: if $oid == 603 { b';' } else { b',' },
        }),*];
    };
}

builtins! {
    "bool" 16 1000, "bytea" 17 1001, "\"char\"" 18 1002, "name" 19 1003, "int8" 20 1016, "int2" 21 1005,
    "int2vector" 22 1006, "int4" 23 1007, "regproc" 24 1008, "text" 25 1009, "oid" 26 1028, "tid" 27 1010, "xid" 28 1011,
    "cid" 29 1012, "oidvector" 30 1013, "json" 114 199, "xml" 142 143, "point" 600 1017, "lseg" 601 1018, "path" 602 1019,
    "box" 603 1020, "polygon" 604 1027, "line" 628 629, "cidr" 650 651, "float4" 700 1021, "float8" 701 1022,
    "circle" 718 719, "macaddr8" 774 775, "money" 790 791, "macaddr" 829 1040, "inet" 869 1041, "aclitem" 1033 1034,
    "bpchar" 1042 1014, "varchar" 1043 1015, "date" 1082 1182, "time" 1083 1183, "timestamp" 1114 1115,
    "timestamptz" 1184 1185, "interval" 1186 1187, "timetz" 1266 1270, "bit" 1560 1561, "varbit" 1562 1563,
    "numeric" 1700 1231, "refcursor" 1790 2201, "regprocedure" 2202 2207, "regoper" 2203 2208, "regoperator" 2204 2209,
    "regclass" 2205 2210, "regtype" 2206 2211, "record" 2249 2287, "uuid" 2950 2951, "txid_snapshot" 2970 2949,
    "pg_lsn" 3220 3221, "tsvector" 3614 3643, "tsquery" 3615 3645, "gtsvector" 3642 3644, "regconfig" 3734 3735,
    "regdictionary" 3769 3770, "jsonb" 3802 3807, "int4range" 3904 3905, "numrange" 3906 3907, "tsrange" 3908 3909,
    "tstzrange" 3910 3911, "daterange" 3912 3913, "int8range" 3926 3927, "jsonpath" 4072 4073, "regnamespace" 4089 4090,
    "regrole" 4096 4097, "regcollation" 4191 4192, "int4multirange" 4451 6150, "nummultirange" 4532 6151,
    "tsmultirange" 4533 6152, "tstzmultirange" 4534 6153, "datemultirange" 4535 6155, "int8multirange" 4536 6157,
    "xid8" 5069 271,
}

/// The built-in type of this OID.
pub(crate) fn builtin(oid: u32) -> Option<&'static Builtin> {
    let index = BUILTINS.binary_search_by_key(&oid, |one| one.oid).ok()?;
    BUILTINS.get(index)
}

/// The built-in type whose array has this OID.
pub(crate) fn element_of(array: u32) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|one| one.array == array)
}

/// The type of the bounds of a built-in range.
pub(crate) fn range_subtype(oid: u32) -> Option<u32> {
    RANGES.iter().find(|(range, _, _)| *range == oid).map(|(_, _, subtype)| *subtype)
}

/// The type of the bounds of the ranges of a built-in multirange.
pub(crate) fn multirange_subtype(oid: u32) -> Option<u32> {
    RANGES.iter().find(|(_, multirange, _)| *multirange == oid).map(|(_, _, subtype)| *subtype)
}

/// Range, multirange, and the type of their bounds.
pub(crate) const RANGES: &[(u32, u32, u32)] = &[
    (INT4RANGE, INT4MULTIRANGE, INT4),
    (INT8RANGE, INT8MULTIRANGE, INT8),
    (NUMRANGE, NUMMULTIRANGE, NUMERIC),
    (DATERANGE, DATEMULTIRANGE, DATE),
    (TSRANGE, TSMULTIRANGE, TIMESTAMP),
    (TSTZRANGE, TSTZMULTIRANGE, TIMESTAMPTZ),
];

/// The OID of a built-in type by its name, as PostgreSQL writes it or as SQL does; with `[]`, of its array.
pub(crate) fn named(name: &str) -> Option<u32> {
    let (plain, array) = match name.strip_suffix("[]") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    let plain = SQL_NAMES.iter().find(|(sql, _)| *sql == plain).map_or(plain, |(_, name)| *name);
    let found = BUILTINS.iter().find(|one| one.name == plain)?;
    Some(if array { found.array } else { found.oid })
}

/// The names that SQL has for types that PostgreSQL calls otherwise.
const SQL_NAMES: &[(&str, &str)] = &[
    ("boolean", "bool"),
    ("character", "bpchar"),
    ("real", "float4"),
    ("double precision", "float8"),
    ("smallint", "int2"),
    ("integer", "int4"),
    ("bigint", "int8"),
    ("time without time zone", "time"),
    ("timestamp without time zone", "timestamp"),
    ("timestamp with time zone", "timestamptz"),
    ("time with time zone", "timetz"),
    ("bit varying", "varbit"),
    ("character varying", "varchar"),
];
