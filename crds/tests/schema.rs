//! Properties of the shipped definition.

use serde_json::Value;

fn crd() -> Value {
    crds::schema::crd_json().unwrap()
}

fn schema() -> Value {
    crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `see` with the path and the schema of every field, item and map value.
fn walk(schema: &Value, path: &str, see: &mut dyn FnMut(&str, &Value)) {
    see(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), see);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), see);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &format!("{path}{{}}"), see);
    }
}

#[test]
fn every_field_has_a_description() {
    walk(&schema(), "", &mut |path, field| {
        let is_field = !path.ends_with("[]") && !path.ends_with("{}");
        assert!(!is_field || field["description"].is_string(), "{path} has no description");
    });
}

#[test]
fn no_format_is_unknown_to_the_apiserver() {
    walk(&schema(), "", &mut |path, field| {
        if let Some(format) = field["format"].as_str() {
            assert!(["int32", "int64", "date-time"].contains(&format), "{path}: {format}");
        }
    });
}

#[test]
fn nothing_is_nullable_and_no_enum_holds_null() {
    walk(&schema(), "", &mut |path, field| {
        assert!(field["nullable"].is_null(), "{path} is nullable");
        let values = field["enum"].as_array();
        assert!(!values.is_some_and(|list| list.contains(&Value::Null)), "{path}");
    });
}

#[test]
fn no_list_of_the_definition_is_empty() {
    fn look(value: &Value, path: &str) {
        match value {
            Value::Array(items) => {
                assert!(!items.is_empty(), "{path} is an empty list");
                for item in items {
                    look(item, path);
                }
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, inner)| look(inner, &format!("{path}.{key}")));
            }
            _ => {}
        }
    }
    look(&crd(), "");
}

#[test]
fn every_list_map_and_text_of_ours_has_a_bound() {
    walk(&schema(), "", &mut |path, field| {
        // Kubernetes' own types have none.
        let ours = !path.contains(".affinity") && !path.contains(".tolerations");
        if !ours || ["", ".apiVersion", ".kind", ".metadata"].contains(&path) {
            return;
        }
        match field["type"].as_str() {
            Some("array") => assert!(field["maxItems"].is_number(), "{path} has no maxItems"),
            Some("object") if field["additionalProperties"].is_object() => {
                assert!(field["maxProperties"].is_number(), "{path} has no maxProperties");
            }
            Some("string") if !path.ends_with("{}") => {
                let bound = field["maxLength"].is_number()
                    || field["enum"].is_array()
                    || field["format"] == "date-time";
                assert!(bound, "{path} has no maxLength");
            }
            _ => {}
        }
    });
}

#[test]
fn every_rule_names_its_field_and_a_mend() {
    walk(&schema(), "", &mut |path, field| {
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap();
            assert!((30..=300).contains(&message.len()), "{path}: {message}");
            assert!(!message.contains('\n'), "{path}: {message}");
        }
    });
}

#[test]
fn columns_are_those_people_read_and_age_is_last() {
    let crd = crd();
    let columns: Vec<(&str, bool)> = crd["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["priority"].is_null()))
        .collect();
    let shown: Vec<&str> =
        columns.iter().filter(|(_, always)| *always).map(|(name, _)| *name).collect();
    assert_eq!(shown, ["Ready", "Status", "Lag", "Archived", "Gaps", "Age"]);
    let wide: Vec<&str> =
        columns.iter().filter(|(_, always)| !always).map(|(name, _)| *name).collect();
    assert_eq!(wide, ["Source", "Position", "ServerId", "Pod", "Message"]);
    assert_eq!(columns.last().unwrap().0, "Age");
}

#[test]
fn a_stream_without_a_status_does_not_read_as_finished() {
    assert_eq!(schema()["properties"]["status"]["default"]["observedGeneration"].to_string(), "-1");
}

#[test]
fn conditions_are_a_map_by_type() {
    let conditions = schema()["properties"]["status"]["properties"]["conditions"].clone();
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]));
}

#[test]
fn pod_defaults_are_not_in_the_schema() {
    let worker = schema()["properties"]["spec"]["properties"]["worker"].clone();
    walk(&worker, "worker", &mut |path, field| {
        assert!(field.get("default").is_none(), "{path} has a default");
    });
}

#[test]
fn the_definition_fits_into_kubectls_annotation() {
    for (path, text) in crds::schema::outputs().unwrap() {
        assert!(text.len() < 200_000, "{path} has {} bytes", text.len());
    }
}

#[test]
fn numbers_are_written_as_numbers() {
    for (path, text) in crds::schema::outputs().unwrap() {
        assert!(!text.contains("$serde_json"), "{path}");
        assert!(text.contains("maximum: 9007199254740991\n"), "{path}");
    }
}

#[test]
fn generated_files_are_up_to_date() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (path, text) in crds::schema::outputs().unwrap() {
        let found = std::fs::read_to_string(root.join(path)).unwrap();
        assert!(
            found == text,
            "{path} is out of date; run: cargo run --release -p crds --bin crdgen"
        );
    }
}

#[test]
fn the_charts_copy_is_guarded_and_kept() {
    let outputs = crds::schema::outputs().unwrap();
    let (_, chart) = outputs.iter().find(|(path, _)| path.starts_with("charts/")).unwrap();
    let lines: Vec<&str> = chart.lines().collect();
    assert_eq!(lines[1], "{{- if .Values.crds.enabled }}");
    assert_eq!(*lines.last().unwrap(), "{{- end }}");
    let keep = lines.iter().position(|line| *line == "  {{- if .Values.crds.keep }}").unwrap();
    assert_eq!(lines[keep + 2], "    helm.sh/resource-policy: keep");
    assert_eq!(lines[keep + 3], "  {{- end }}");
}
