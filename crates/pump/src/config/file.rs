//! From a JSON document to values: every key checked against the table, every wrong value named.

use super::{
    Config, PumpEntry,
    finding::{Findings, Place, did_you_mean},
    json::{Json, Member, Node},
    schema::{self, Kind, PUMP, SECTIONS, STORE_KEYS, Section, Setting, TOP},
    values::{Data, Values},
};

/// Reads a document into `config`.
pub fn read(document: &Node, config: &mut Config, findings: &mut Findings) {
    let Json::Object(members) = &document.json else {
        if document.json != Json::Null {
            let kind = document.json.kind();
            let text = format!("the configuration is {kind} – it must be an object: {{\"pumps\": {{…}}}}");
            findings.fatal(Place::File(document.at), text);
        }
        return;
    };
    warn_duplicates("", members, findings);
    for member in members {
        if let Some(section) = SECTIONS
            .iter()
            .find(|s| !s.key.is_empty() && s.key.eq_ignore_ascii_case(&member.key))
        {
            read_section(section, &member.value, config.section_mut(section.key), findings);
        } else if member.key.eq_ignore_ascii_case(schema::PUMPS) {
            read_pumps(&member.value, config, findings);
        } else if member.key.eq_ignore_ascii_case(schema::KV) {
            read_stores(&member.value, config, findings);
        } else if let Some(setting) = TOP.find(&member.key) {
            let mut reader = Reader::new("", findings);
            reader.value(setting.key, setting, &member.value, &mut config.top);
        } else if !is_note(&member.key) {
            let text = unknown_top_key(&member.key);
            findings.mistake(Place::File(member.at), text);
        }
    }
}

/// Keys that people use for notes, because JSON has no comments.
fn is_note(key: &str) -> bool {
    key.starts_with(['_', '#', '$']) || key.starts_with("//") || key.eq_ignore_ascii_case("comment")
}

fn unknown_top_key(key: &str) -> String {
    let names: Vec<&str> = TOP
        .settings
        .iter()
        .map(|s| s.key)
        .chain(TOP.objects.iter().copied())
        .collect();
    let near = did_you_mean(key, names);
    if near.is_empty() {
        for section in SECTIONS.iter().filter(|section| !section.key.is_empty()) {
            if section.find(key).is_some() {
                return format!("unknown key \"{key}\" – it belongs inside \"{}\"", section.key);
            }
        }
        if PUMP.find(key).is_some() || key.eq_ignore_ascii_case("filters") || key.eq_ignore_ascii_case("meta") {
            return format!(
                "unknown key \"{key}\" – it belongs inside a pump: {{\"pumps\": {{\"csv\": {{\"{key}\": …}}}}}}"
            );
        }
    }
    format!("unknown key \"{key}\"{near}")
}

fn warn_duplicates(context: &str, members: &[Member], findings: &mut Findings) {
    for (index, member) in members.iter().enumerate() {
        let earlier = members
            .iter()
            .take(index)
            .rfind(|other| other.key.eq_ignore_ascii_case(&member.key));
        let Some(earlier) = earlier else { continue };
        let (first, second) = (earlier.at.line, member.at.line);
        let key = &member.key;
        let objects = matches!(
            (&earlier.value.json, &member.value.json),
            (Json::Object(_), Json::Object(_))
        );
        let result = match objects {
            true => "both are read, and of equal keys inside the last counts",
            false => "only the last counts",
        };
        let text = format!("{context}\"{key}\" stands twice (lines {first} and {second}) – {result}; remove one");
        findings.mistake(Place::File(member.at), text);
    }
}

fn read_section(section: &'static Section, node: &Node, values: &mut Values, findings: &mut Findings) {
    let mut reader = Reader::new("", findings);
    reader.object(section, section.key, "", node, values);
}

/// Reads values of one section; `context` is put before the key in every text.
struct Reader<'a> {
    context: &'a str,
    findings: &'a mut Findings,
    /// An item of the list or object at hand could not be used: the rest counts, unless it is a filter.
    incomplete: bool,
}

impl<'a> Reader<'a> {
    fn new(context: &'a str, findings: &'a mut Findings) -> Self {
        Self {
            context,
            findings,
            incomplete: false,
        }
    }
}

impl Reader<'_> {
    /// Reads an object: `path` is its key for texts, `inner` the part of it below the section.
    fn object(&mut self, section: &'static Section, path: &str, inner: &str, node: &Node, values: &mut Values) {
        let members = match &node.json {
            Json::Object(members) => members,
            Json::Null => return,
            other => {
                let text = format!(
                    "{}{path} is {} – it must be an object: {{…}}",
                    self.context,
                    other.kind()
                );
                return self.findings.error(Place::File(node.at), text);
            }
        };
        warn_duplicates(&format!("{}{path}: ", self.context), members, self.findings);
        for member in members {
            let key = format!("{inner}{}", member.key);
            if let Some(setting) = section.find(&key) {
                let path = format!("{path}.{}", setting.key.rsplit('.').next().unwrap_or_default());
                self.value(&path, setting, &member.value, values);
            } else if section.objects.iter().any(|object| object.eq_ignore_ascii_case(&key)) {
                let object = key.to_lowercase();
                self.object(
                    section,
                    &format!("{path}.{object}"),
                    &format!("{object}."),
                    &member.value,
                    values,
                );
            } else if !is_note(&member.key) {
                let names = section
                    .settings
                    .iter()
                    .filter_map(|setting| setting.key.strip_prefix(inner));
                let near = did_you_mean(&member.key, names.chain(section.objects.iter().copied()));
                let text = format!("{}unknown key {path}.{}{near}", self.context, member.key);
                self.findings.mistake(Place::File(member.at), text);
            }
        }
    }

    fn value(&mut self, path: &str, setting: &'static Setting, node: &Node, values: &mut Values) {
        let place = Place::File(node.at);
        self.incomplete = false;
        if let Some(data) = setting
            .key
            .strip_prefix("filters.")
            .and_then(|_| self.meant(path, setting, node))
        {
            return values.set(setting.key, data, place);
        }
        let data = match (setting.kind, &node.json) {
            (Kind::Texts | Kind::Ints | Kind::TextMap, Json::Null) => return values.unset(setting.key),
            (_, Json::Null) => return,
            (Kind::Text | Kind::Secret | Kind::Span | Kind::Bytes, Json::Text(text)) => Some(Data::Text(text.clone())),
            (Kind::Span | Kind::Bytes, Json::Number(text)) => Some(Data::Text(text.clone())),
            (Kind::Bool, Json::Bool(on)) => Some(Data::Bool(*on)),
            (Kind::Int | Kind::Uint, Json::Number(text)) => self.int(path, setting, text, &place),
            (Kind::Texts, Json::List(items)) => self.texts(path, items),
            (Kind::Ints, Json::List(items)) => self.ints(path, items),
            (Kind::TextMap, Json::Object(members)) => self.map(path, members),
            (_, json) => {
                let text = format!(
                    "{}{path} is {}{}",
                    self.context,
                    wrong_type(setting.kind, json),
                    until_then(setting)
                );
                self.findings.error(place.clone(), text);
                None
            }
        };
        match data {
            Some(data) => values.set(setting.key, data, place),
            None => self.incomplete = true,
        }
        if self.incomplete {
            values.set_unusable(setting.key);
        }
    }

    /// The list of a filter that is written in another way but can mean nothing else: one value without brackets, numbers in
    /// quotes. `None`: it is no such thing.
    fn meant(&mut self, path: &str, setting: &Setting, node: &Node) -> Option<Data> {
        let items = match &node.json {
            Json::List(items) => items.as_slice(),
            Json::Text(_) | Json::Number(_) => std::slice::from_ref(node),
            _ => return None,
        };
        let texts = items.iter().map(|item| match (&item.json, setting.kind) {
            (Json::Text(text), Kind::Ints) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            // An id with a comma in it is probably two.
            (Json::Text(text), _) if !text.contains(',') => Some(vec![text.clone()]),
            (Json::Number(text), _) => Some(vec![text.clone()]),
            _ => None,
        });
        let texts = texts.collect::<Option<Vec<Vec<String>>>>()?.concat();
        let is_plain = matches!(node.json, Json::List(_))
            && items.iter().all(|item| match setting.kind {
                Kind::Ints => matches!(item.json, Json::Number(_)),
                _ => matches!(item.json, Json::Text(_)),
            });
        if is_plain {
            return None;
        }
        let (data, shown) = match setting.kind {
            Kind::Ints => {
                let numbers: Vec<i64> = texts.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
                let shown = format!("{numbers:?}");
                (Data::Ints(numbers), shown)
            }
            Kind::Texts => {
                let shown = format!("{texts:?}");
                (Data::Texts(texts), shown)
            }
            _ => return None,
        };
        let text = format!("{}{path} is read as {shown} – write it so", self.context);
        self.findings.mistake(Place::File(node.at), text);
        Some(data)
    }

    fn int(&mut self, path: &str, setting: &Setting, text: &str, place: &Place) -> Option<Data> {
        let context = self.context;
        let problem = match text.parse::<i64>() {
            Ok(number) if setting.kind == Kind::Uint && number < 0 => "write a number that is not negative".to_owned(),
            Ok(number) => return Some(Data::Int(number)),
            Err(_) if text.contains(['.', 'e', 'E']) => {
                let near = text.parse::<f64>().unwrap_or_default();
                format!("write a whole number: {near:.0}")
            }
            Err(_) => "it is too large; the largest number is 9223372036854775807".to_owned(),
        };
        let text = format!("{context}{path} is {text} – {problem}{}", until_then(setting));
        self.findings.error(place.clone(), text);
        None
    }

    fn texts(&mut self, path: &str, items: &[Node]) -> Option<Data> {
        let mut texts = Vec::new();
        for item in items {
            match &item.json {
                Json::Text(text) => texts.push(text.clone()),
                // As everywhere, `null` is the empty value.
                Json::Null => texts.push(String::new()),
                _ => self.item(path, Kind::Text, item),
            }
        }
        (items.is_empty() || !texts.is_empty()).then_some(Data::Texts(texts))
    }

    fn ints(&mut self, path: &str, items: &[Node]) -> Option<Data> {
        let mut numbers = Vec::new();
        for item in items {
            match &item.json {
                Json::Number(text) if text.parse::<i64>().is_ok() => numbers.extend(text.parse::<i64>()),
                Json::Null => numbers.push(0),
                _ => self.item(path, Kind::Int, item),
            }
        }
        (items.is_empty() || !numbers.is_empty()).then_some(Data::Ints(numbers))
    }

    fn map(&mut self, path: &str, members: &[Member]) -> Option<Data> {
        let mut pairs = Vec::new();
        for member in members {
            match &member.value.json {
                Json::Text(text) => pairs.push((member.key.clone(), text.clone())),
                json => {
                    let path = format!("{path}.{}", member.key);
                    let text = wrong_type(Kind::Text, json);
                    let text = format!("{}{path} is {text}", self.context);
                    self.findings.error(Place::File(member.value.at), text);
                    self.incomplete = true;
                }
            }
        }
        (members.is_empty() || !pairs.is_empty()).then_some(Data::Map(pairs))
    }

    fn item(&mut self, path: &str, kind: Kind, node: &Node) {
        let text = wrong_type(kind, &node.json);
        let text = format!("{}{path} has {text}", self.context);
        self.findings.error(Place::File(node.at), text);
        self.incomplete = true;
    }
}

/// The value that counts instead of one that cannot be used.
fn until_then(setting: &Setting) -> String {
    match setting.default {
        "" => String::new(),
        default => format!(" (until then {default} counts)"),
    }
}

/// `the text "10s" – write 10`.
fn wrong_type(kind: Kind, json: &Json) -> String {
    let found = match json {
        _ if kind == Kind::Secret => json.kind().to_owned(),
        Json::Text(text) if text.chars().count() <= 60 => format!("the text {text:?}"),
        Json::Number(text) => format!("the number {text}"),
        Json::Bool(on) => format!("the switch {on}"),
        other => other.kind().to_owned(),
    };
    let wanted = match (kind, json) {
        (Kind::Bool, Json::Text(text)) if ["true", "false"].contains(&text.to_lowercase().as_str()) => {
            format!("write {} without quotes", text.to_lowercase())
        }
        (Kind::Bool, _) => "write true or false".to_owned(),
        (Kind::Int | Kind::Uint, Json::Text(text)) => match leading_number(text) {
            Some(number) if text.trim() == number.to_string() => format!("write {number} without quotes"),
            Some(number) => format!("write {number} without quotes and unit"),
            None => "write a number".to_owned(),
        },
        (Kind::Int | Kind::Uint, _) => "write a whole number".to_owned(),
        (Kind::Text, Json::Number(text)) => format!("write \"{text}\""),
        (Kind::Text | Kind::Secret, _) => "write a text in quotes".to_owned(),
        (Kind::Texts, Json::Text(text)) if text.chars().count() <= 60 => format!("write [{text:?}]"),
        (Kind::Texts, Json::Number(text)) => format!("write [\"{text}\"]"),
        (Kind::Texts, _) => "write a list of texts: [\"…\"]".to_owned(),
        (Kind::Ints, Json::Number(text)) => format!("write [{text}]"),
        (Kind::Ints, Json::Text(text)) => match leading_number(text) {
            Some(number) => format!("write [{number}]"),
            None => "write a list of numbers: [200, 404]".to_owned(),
        },
        (Kind::Ints, _) => "write a list of numbers: [200, 404]".to_owned(),
        (Kind::TextMap, _) => "write an object: {\"redis-1\": \"6379\"}".to_owned(),
        (Kind::Span, _) => "write seconds, or a text like \"30s\"".to_owned(),
        (Kind::Bytes, _) => "write bytes, or a text like \"256MiB\"".to_owned(),
    };
    format!("{found} – {wanted}")
}

fn leading_number(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok()
}

fn read_pumps(node: &Node, config: &mut Config, findings: &mut Findings) {
    let members = match &node.json {
        Json::Object(members) => members,
        Json::Null => return config.pumps.clear(),
        other => {
            let kind = other.kind();
            let text = format!("pumps is {kind} – it must be an object: {{\"pumps\": {{\"csv\": {{…}}}}}}");
            return findings.error(Place::File(node.at), text);
        }
    };
    for member in members {
        let pump = read_pump(member, findings);
        let Some(earlier) = config.pumps.iter_mut().find(|other| other.name == pump.name) else {
            config.pumps.push(pump);
            continue;
        };
        let lines = match &earlier.place {
            Place::File(at) => format!(" (lines {} and {})", at.line, member.at.line),
            _ => String::new(),
        };
        let same = match earlier.spelled == pump.spelled {
            true => format!("pumps has \"{}\" twice{lines}", pump.spelled),
            false => format!(
                "pumps \"{}\" and \"{}\" are the same name{lines}",
                earlier.spelled, pump.spelled
            ),
        };
        let text = format!("{same} – only the last counts; give each pump its own name and a \"type\"");
        findings.mistake(Place::File(member.at), text);
        *earlier = pump;
    }
}

fn read_pump(member: &Member, findings: &mut Findings) -> PumpEntry {
    let mut pump = PumpEntry::new(&member.key, Place::File(member.at));
    pump.in_file = true;
    let context = format!("pump \"{}\": ", member.key);
    let members = match &member.value.json {
        Json::Object(members) => members,
        Json::Null => return pump,
        other => {
            let text = format!(
                "{context}it is {} – it must be an object: {{\"type\": …, \"meta\": {{…}}}}",
                other.kind()
            );
            findings.error(Place::File(member.value.at), text);
            return pump;
        }
    };
    warn_duplicates(&context, members, findings);
    for member in members {
        if member.key.eq_ignore_ascii_case("meta") {
            read_meta(&context, &member.value, &mut pump, findings);
        } else if member.key.eq_ignore_ascii_case("filters") {
            let mut reader = Reader::new(&context, findings);
            reader.object(&PUMP, "filters", "filters.", &member.value, &mut pump.values);
            if !matches!(member.value.json, Json::Object(_) | Json::Null) {
                pump.values.set_unusable("filters.api_ids");
            }
        } else if let Some(setting) = PUMP.find(&member.key).filter(|setting| !setting.key.contains('.')) {
            let mut reader = Reader::new(&context, findings);
            reader.value(setting.key, setting, &member.value, &mut pump.values);
        } else if !is_note(&member.key) {
            pump.strangers.push((member.key.clone(), member.at));
        }
    }
    pump
}

fn read_meta(context: &str, node: &Node, pump: &mut PumpEntry, findings: &mut Findings) {
    match &node.json {
        Json::Null => pump.meta.clear(),
        Json::Object(members) => {
            pump.has_meta = true;
            warn_duplicates(&format!("{context}meta: "), members, findings);
            for member in members {
                pump.meta_places
                    .insert(member.key.to_lowercase(), Place::File(member.at));
            }
            if let serde_json::Value::Object(meta) = node.to_value() {
                pump.meta.extend(meta);
            }
        }
        other => {
            pump.meta_unusable = true;
            let text = format!("{context}meta is {} – it must be an object: {{…}}", other.kind());
            findings.error(Place::File(node.at), text);
        }
    }
}

fn read_stores(node: &Node, config: &mut Config, findings: &mut Findings) {
    let stores = match &node.json {
        Json::Null => return,
        Json::Object(members) => members.iter().filter(|member| {
            let known = member.key.eq_ignore_ascii_case("stores");
            if !known && !is_note(&member.key) {
                let near = did_you_mean(&member.key, ["stores"]);
                findings.mistake(Place::File(member.at), format!("unknown key kv.{}{near}", member.key));
            }
            known
        }),
        other => {
            let text = format!("kv is {} – it must be an object: {{\"stores\": {{…}}}}", other.kind());
            return findings.error(Place::File(node.at), text);
        }
    };
    let stores: Vec<&Member> = stores.collect();
    for member in stores {
        let Json::Object(stores) = &member.value.json else {
            let text = format!("kv.stores is {} – it must be an object", member.value.json.kind());
            findings.error(Place::File(member.value.at), text);
            continue;
        };
        for store in stores {
            if let Json::Object(keys) = &store.value.json {
                for key in keys {
                    if !STORE_KEYS.iter().any(|known| known.eq_ignore_ascii_case(&key.key)) && !is_note(&key.key) {
                        let near = did_you_mean(&key.key, STORE_KEYS.iter().copied());
                        let text = format!("unknown key kv.stores.{}.{}{near}", store.key, key.key);
                        findings.mistake(Place::File(key.at), text);
                    }
                }
            }
            config.stores.insert(store.key.clone(), store.value.to_value());
        }
    }
}
