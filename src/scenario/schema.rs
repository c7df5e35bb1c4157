//! The JSON schema of a scenario file, from the types that read it.

use super::raw::RawScenario;

/// The JSON schema of a scenario file (`lab schema scenario`).
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(RawScenario).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "lab scenario".into());
        root.insert("required".into(), serde_json::json!(["topology", "step"]));
    }
    forbid_null(&mut schema);
    name_plainly(&mut schema);
    schema
}

/// That a type is called `RawStep` here is no reader's business: its schema is called `Step`.
fn name_plainly(schema: &mut serde_json::Value) {
    const PREFIX: &str = "#/$defs/Raw";
    match schema {
        serde_json::Value::Array(values) => values.iter_mut().for_each(name_plainly),
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::String(target)) = object.get_mut("$ref")
                && let Some(name) = target.strip_prefix(PREFIX)
            {
                *target = format!("#/$defs/{name}");
            }
            if let Some(serde_json::Value::Object(definitions)) = object.get_mut("$defs") {
                let plain = |(name, value): (String, _)| (name.strip_prefix("Raw").unwrap_or(&name).to_owned(), value);
                *definitions = std::mem::take(definitions).into_iter().map(plain).collect();
            }
            object.values_mut().for_each(name_plainly);
        }
        _ => {}
    }
}

/// TOML has no null: an optional key is left out.
fn forbid_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(values) => values.iter_mut().for_each(forbid_null),
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(serde_json::Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
            }
            if let Some(serde_json::Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            object.values_mut().for_each(forbid_null);
        }
        _ => {}
    }
}
