use boundkey_document::{format_duration, format_time, parse_duration, parse_time, parse_yaml, to_yaml};
use boundkey_token::{Resource, read_resource_json, read_resources};

/// Resources as a user writes them. What is applied is what is printed: printed and read again, it is the same.
pub fn token_document(data: &[u8]) {
    match read_resources(data) {
        Ok(resources) => resources.iter().for_each(survives),
        Err(error) => assert!(!error.lines("file.yaml").is_empty()),
    }
}

/// A resource as it comes over the network.
pub fn resource_json(data: &[u8]) {
    match read_resource_json(data) {
        Ok(resource) => survives(&resource),
        Err(error) => assert!(!error.lines("body").is_empty()),
    }
}

fn survives(resource: &Resource) {
    let _ = resource.warnings(time::OffsetDateTime::UNIX_EPOCH);
    let printed = resource.to_json(true);
    let json = serde_json::to_vec(&printed).expect("JSON values are JSON");
    let again = read_resource_json(&json).unwrap_or_else(|error| panic!("{error} in {printed}"));
    assert_eq!(again.to_json(true), printed, "JSON");
    let yaml = to_yaml(&printed);
    let again = read_resources(yaml.as_bytes()).unwrap_or_else(|error| panic!("{error} in\n{yaml}"));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].to_json(true), printed, "YAML:\n{yaml}");
    // Without secrets nothing more is said than with them.
    let _ = resource.to_json(false);
}

/// Any YAML: places of nodes are asked for by errors only, so the tree alone is what counts.
pub fn yaml(data: &[u8]) {
    match parse_yaml(data) {
        Ok(documents) => assert!(!documents.is_empty()),
        Err(error) => assert!(!error.in_source("file.yaml").to_string().is_empty()),
    }
}

/// Durations and times in documents: written out, they are read as the same.
pub fn durations_and_times(data: &[u8]) {
    let text = crate::text(data);
    if let Some(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration), "{text:?}");
    }
    if let Some(time) = parse_time(text) {
        assert_eq!(parse_time(&format_time(time)), Some(time), "{text:?}");
    }
}
