//! The file that describes the admin API, held against a running door: every operation is asked, and what comes back is what
//! the file says, with nothing more and nothing less.

use harness::agent::Shape;
use harness::door::Asked;
use harness::fleet::{Fleet, Site};
use serde_json::{Map, Value, json};

/// One operation, asked in a way that must succeed and, where there is one, in a way that must not.
struct Call {
    method: &'static str,
    path: &'static str,
    /// Where it is asked, where that is no more than its path.
    target: Option<String>,
    body: Option<Value>,
    status: u16,
}

fn get(path: &'static str) -> Call {
    Call { method: "get", path, target: None, body: None, status: 200 }
}

fn post(path: &'static str, body: Value, status: u16) -> Call {
    Call { method: "post", path, target: None, body: Some(body), status }
}

/// In this order: each finds what the one before has left.
fn calls(fleet: &Fleet) -> Vec<Call> {
    let m1 = || json!({ "certname": "m1.example.com" });
    let status = "/v1/masters/{certname}/status";
    let of = |name: &str| Some(format!("/v1/masters/{name}/status?level=info"));
    let address = fleet.masters[1].address().to_string();
    let new = json!({ "certname": "m9.example.com", "address": address, "jrubies": 4, "header_limit": 8192 });
    let leaf = fleet.agent("web01.example.com").identity().unwrap().certificate_pem.clone();
    let step = json!({ "name": "preflight", "state": "failed", "why": "no way there" });
    let enrollment = json!({ "certname": "m9.example.com", "procedure": "enroll", "steps": [step] });
    vec![
        get("/live"),
        get("/ready"),
        get("/metrics"),
        get("/v1/roster"),
        get("/v1/masters"),
        get("/v1/queue"),
        get("/v1/openapi.json"),
        Call { target: of("m1.example.com"), ..get(status) },
        Call { target: of("nobody.example.com"), status: 404, ..get(status) },
        post("/v1/enrollments", enrollment, 200),
        post("/v1/hold", json!({ "seconds": 0 }), 200),
        post("/v1/judge", json!({ "certificate": leaf }), 200),
        post("/v1/judge", json!({ "certificate": "x" }), 422),
        post("/v1/flush", json!({}), 200),
        post("/v1/roster/warm", new.clone(), 200),
        post("/v1/roster/admit", new, 200),
        post("/v1/roster/drain", m1(), 200),
        post("/v1/roster/undrain", m1(), 200),
        post("/v1/roster/retire", m1(), 409),
        post("/v1/roster/retire", json!({ "certname": "m1.example.com", "force": true }), 200),
        // Last, when there is something to see.
        get("/v1/overview"),
    ]
}

#[tokio::test]
async fn the_file_that_describes_the_api_says_what_the_door_does() {
    let fleet = Site::with_masters(2).open().await;
    fleet.agent("web01.example.com").run(Shape::default()).await.unwrap();
    // A refusal, for the overview to show.
    fleet.stranger("nobody").get("/puppet/v3/node/x").await.unwrap();
    let file = fleet.door.admin("GET", "/v1/openapi.json", "").await.json();
    let described = operations(&file);
    let mut asked: Vec<(String, String)> = Vec::new();
    for call in calls(&fleet) {
        let operation = &file["paths"][call.path][call.method];
        assert!(operation.is_object(), "{} {} is not described", call.method, call.path);
        let target = call.target.as_deref().unwrap_or(call.path);
        let body = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        if let Some(body) = &call.body {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            valid(&file, schema, body).unwrap_or_else(|why| panic!("{} {}: {why}", call.path, body));
        }
        let answer = fleet.door.admin(&call.method.to_uppercase(), target, &body).await;
        assert_eq!(answer.status, call.status, "{} {target}: {}", call.method, answer.body);
        answered_as_described(&file, operation, &answer)
            .unwrap_or_else(|why| panic!("{} {target}: {why}\n{}", call.method, answer.body));
        asked.push((call.path.to_owned(), call.method.to_owned()));
    }
    for one in &described {
        assert!(asked.contains(one), "{one:?} is described and was not asked");
    }
    let paths: Vec<&str> = file["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if file["paths"][path].get(method.to_lowercase()).is_none() {
                let target = path.replace("{certname}", "m2.example.com");
                let answer = fleet.door.admin(method, &target, "").await;
                assert_eq!(
                    answer.status, 405,
                    "{method} {target} is not described, and answered {}",
                    answer.body
                );
            }
        }
    }
    let unknown = fleet.door.admin("GET", "/v1/nothing", "").await;
    assert_eq!(unknown.status, 404);
    for path in described.iter().map(|(path, _)| path).filter(|path| !path.contains('{')) {
        assert!(path.starts_with("/v1/roster/") || path.starts_with('/'), "{path}");
    }
}

#[tokio::test]
async fn a_request_with_a_field_that_is_not_described_is_refused() {
    let fleet = Site::with_masters(1).open().await;
    let file = fleet.door.admin("GET", "/v1/openapi.json", "").await.json();
    for (path, method) in operations(&file).into_iter().filter(|(_, method)| method == "post") {
        let schema = &file["paths"][&path][&method]["requestBody"]["content"]["application/json"]["schema"];
        let body = json!({ "certname": "m1.example.com", "seconds": 0, "certificate": "x", "unheard_of": 1 });
        assert!(valid(&file, schema, &body).is_err(), "{path}");
        let answer = fleet.door.admin("POST", &path, &body.to_string()).await;
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
        let operation = &file["paths"][&path][&method];
        answered_as_described(&file, operation, &answer)
            .unwrap_or_else(|why| panic!("{path}: {why}\n{}", answer.body));
    }
    assert_eq!(
        fleet.door.admin("GET", "/v1/roster", "").await.json()["masters"].as_array().unwrap().len(),
        1
    );
}

fn operations(file: &Value) -> Vec<(String, String)> {
    let methods = |(path, of): (&String, &Value)| -> Vec<(String, String)> {
        let methods = of.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(|method| (path.clone(), method.clone())).collect()
    };
    file["paths"].as_object().unwrap().iter().flat_map(methods).collect()
}

fn answered_as_described(file: &Value, operation: &Value, answer: &Asked) -> Result<(), String> {
    let status = answer.status.to_string();
    let responses = &operation["responses"];
    let response = responses.get(&status).or_else(|| responses.get(format!("{}XX", answer.status / 100)));
    let response = response.ok_or_else(|| format!("its status {status} is not described"))?;
    let content = response["content"].as_object().and_then(|content| content.iter().next());
    let Some((kind, content)) = content else { return Err("nothing is described".to_owned()) };
    let body = if kind == "application/json" { answer.json() } else { answer.body.clone().into() };
    valid(file, &content["schema"], &body)
}

/// Whether a value is as its schema says, of those words of JSON Schema that the file uses; any other is a mistake.
fn valid(file: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = schema.as_object().ok_or("no schema")?;
    for (word, said) in schema {
        let good = match word.as_str() {
            "description" => true,
            "$ref" => {
                let pointer =
                    said.as_str().and_then(|said| said.strip_prefix('#')).ok_or("a $ref elsewhere")?;
                let schema = file.pointer(pointer).ok_or_else(|| format!("{said} is not there"))?;
                valid(file, schema, value)?;
                true
            }
            "type" => match said.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("integer") => value.is_i64() || value.is_u64(),
                Some("number") => value.is_number(),
                Some("boolean") => value.is_boolean(),
                _ => return Err(format!("the type {said} is not known here")),
            },
            "enum" => said.as_array().is_some_and(|words| words.contains(value)),
            "minimum" => value.as_f64() >= said.as_f64(),
            "maximum" => value.as_f64() <= said.as_f64(),
            "maxLength" => value.as_str().map(str::len) <= said.as_u64().map(|most| most as usize),
            "maxItems" => value.as_array().map(Vec::len) <= said.as_u64().map(|most| most as usize),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    valid(file, said, item)?;
                }
                true
            }
            "required" => {
                let keys = said.as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing: Vec<&str> = keys.filter(|key| value.get(key).is_none()).collect();
                if !missing.is_empty() {
                    return Err(format!("{missing:?} is missing"));
                }
                true
            }
            "properties" => {
                let none = Map::new();
                let properties = said.as_object().unwrap_or(&none);
                for (key, value) in value.as_object().unwrap_or(&none) {
                    if let Some(schema) = properties.get(key) {
                        valid(file, schema, value).map_err(|why| format!("{key}: {why}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let more = value.as_object().into_iter().flatten();
                let more: Vec<&String> = more
                    .map(|(key, _)| key)
                    .filter(|key| !known.is_some_and(|known| known.contains_key(*key)))
                    .collect();
                if *said != false || !more.is_empty() {
                    return Err(format!("{more:?} is not described"));
                }
                true
            }
            _ => return Err(format!("the word {word} is not known here")),
        };
        if !good {
            return Err(format!("{value} is not {word} {said}"));
        }
    }
    Ok(())
}
