//! One entry of `pumps`.

use super::{
    Kind::{Bool, Int, Ints, Text, Texts, Uint},
    Section, setting,
};

/// What every pump has beside its `meta`.
#[rustfmt::skip]
pub const PUMP: Section = Section {
    key: "pumps.<name>",
    prefixes: &["TYK_PMP_PUMPS_<NAME>_"],
    ours: false,
    objects: &["filters", "meta"],
    settings: &[
        setting("type", "TYPE", Text, "the name", "Kind of back-end."),
        setting("name", "NAME", Text, "", "Deprecated, ignored: the key in `pumps` is the name."),
        setting("filters.org_ids", "FILTERS_ORGSIDS", Texts, "", "Only records of these organisations."),
        setting("filters.api_ids", "FILTERS_APIIDS", Texts, "", "Only records of these APIs."),
        setting("filters.response_codes", "FILTERS_RESPONSECODES", Ints, "", "Only records with these response codes."),
        setting("filters.skip_org_ids", "FILTERS_SKIPPEDORGSIDS", Texts, "", "No records of these organisations."),
        setting("filters.skip_api_ids", "FILTERS_SKIPPEDAPIIDS", Texts, "", "No records of these APIs."),
        setting("filters.skip_response_codes", "FILTERS_SKIPPEDRESPONSECODES", Ints, "", "No records with these response codes."),
        setting("timeout", "TIMEOUT", Int, "0", "Seconds after which a write counts as failed and is tried again; 0 waits for ever."),
        setting("omit_detailed_recording", "OMITDETAILEDRECORDING", Bool, "false", "Blanks raw request and response."),
        setting("max_record_size", "MAXRECORDSIZE", Int, "the global one", "Cuts raw request and response to this many bytes."),
        setting("ignore_fields", "IGNOREFIELDS", Texts, "", "Fields of the record to blank, by their JSON names."),
        setting("raw_request_decoded", "DECODERAWREQUEST", Bool, "false", "Decodes the raw request from base64."),
        setting("raw_response_decoded", "DECODERAWRESPONSE", Bool, "false", "Decodes the raw response from base64."),
        setting("max_records_per_second", "MAX_RECORDS_PER_SECOND", Uint, "0", "Records that this pump takes up in a second at most, for back-ends that must not be hurried, as `purge_chunk` with `purge_delay` did for all pumps; 0 is no limit."),
        setting("on_full", "ON_FULL", Text, "`spool` with `delivery.spool_dir`, else `drop_oldest`", "What to do when this pump fails and Redis shall not hold more for it: `spool`, `drop_oldest` or `block`."),
        setting("compat", "COMPAT", Bool, "the global one", "Writes the old values where this pump corrects what the original pump got wrong."),
    ],
};
