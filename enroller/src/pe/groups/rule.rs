//! A group's rule, as far as it names nodes.
//!
//! The console pins a node by a branch `["=", "name", NODE]` of an `or`; where there is no endpoint for that, this is done
//! here. Every other branch stays as it is and where it is, whatever it says.
#![deny(clippy::disallowed_methods)]

use serde_json::{Value, json};

/// Whether the rule names the node by a branch of its own.
#[must_use]
pub fn names(rule: &Value, node: &str) -> bool {
    is_name(rule, node) || branches(rule).is_some_and(|all| all.iter().any(|one| is_name(one, node)))
}

/// The rule with a branch for the node: at the end of an `or`, else before the rule that was alone.
#[must_use]
pub fn with(rule: &Value, node: &str) -> Value {
    if names(rule, node) {
        return rule.clone();
    }
    let own = json!(["=", "name", node]);
    match branches(rule) {
        _ if rule.is_null() => json!(["or", own]),
        Some(all) => or(all.iter().cloned().chain([own])),
        None => or([own, rule.clone()]),
    }
}

/// The rule without the node's branch; null where nothing is left of it. What [`with`] put before a rule is taken from
/// before it again; only a rule that was a bare name comes back as the console writes it, as the one branch of an `or`.
#[must_use]
pub fn without(rule: &Value, node: &str) -> Value {
    if is_name(rule, node) {
        return Value::Null;
    }
    let Some(all) = branches(rule).filter(|_| names(rule, node)) else { return rule.clone() };
    let left: Vec<&Value> = all.iter().filter(|one| !is_name(one, node)).collect();
    match (all, left.as_slice()) {
        (_, []) => Value::Null,
        ([first, _], [alone]) if is_name(first, node) && !is_a_name(alone) => (*alone).clone(),
        _ => or(left.into_iter().cloned()),
    }
}

/// Whether a rule says this of nodes anywhere, in whatever it is wrapped.
#[must_use]
pub fn says(rule: &Value, condition: &Value) -> bool {
    rule == condition || rule.as_array().is_some_and(|all| all.iter().any(|one| says(one, condition)))
}

fn branches(rule: &Value) -> Option<&[Value]> {
    let (first, rest) = rule.as_array()?.split_first()?;
    (first == "or").then_some(rest)
}

fn is_name(rule: &Value, node: &str) -> bool {
    is_a_name(rule) && rule.get(2).and_then(Value::as_str) == Some(node)
}

fn is_a_name(rule: &Value) -> bool {
    let Some([operator, field, value]) = rule.as_array().map(Vec::as_slice) else { return false };
    operator == "=" && field == "name" && value.is_string()
}

fn or(branches: impl IntoIterator<Item = Value>) -> Value {
    Value::Array([json!("or")].into_iter().chain(branches).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any rule of the classifier's grammar, among it names of nodes.
    fn any_rule() -> impl Strategy<Value = Value> {
        let field = prop_oneof![
            Just(json!("name")),
            Just(json!(["fact", "osfamily"])),
            Just(json!(["trusted", "extensions", "pp_auth_role"])),
        ];
        let operator = proptest::sample::select(vec!["=", "~", ">", "<="]);
        let value = proptest::sample::select(vec!["a", "b", "c", "new", "^new"]);
        let operation = (operator, field, value).prop_map(|(op, field, value)| json!([op, field, value]));
        operation.prop_recursive(3, 12, 4, |inner| {
            let all = proptest::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                inner.prop_map(|one| json!(["not", one])),
                (proptest::sample::select(vec!["and", "or", "or"]), all)
                    .prop_map(|(word, all)| { Value::Array([json!(word)].into_iter().chain(all).collect()) }),
            ]
        })
    }

    fn any_or_none() -> impl Strategy<Value = Value> {
        prop_oneof![1 => Just(Value::Null), 9 => any_rule()]
    }

    /// As the console writes a rule: a bare name is the one branch of an `or`.
    fn written(rule: Value) -> Value {
        if is_a_name(&rule) { or([rule]) } else { rule }
    }

    fn others(rule: &Value, node: &str) -> Vec<Value> {
        let all = branches(rule).map_or_else(|| vec![rule.clone()], <[Value]>::to_vec);
        all.into_iter().filter(|one| !one.is_null() && !is_name(one, node)).collect()
    }

    #[test]
    fn a_node_is_pinned_as_the_console_pins_it() {
        assert_eq!(with(&Value::Null, "new"), json!(["or", ["=", "name", "new"]]));
        let pinned = json!(["or", ["=", "name", "mom"]]);
        assert_eq!(with(&pinned, "new"), json!(["or", ["=", "name", "mom"], ["=", "name", "new"]]));
        let by_fact = json!(["and", ["=", ["fact", "role"], "master"]]);
        assert_eq!(with(&by_fact, "new"), json!(["or", ["=", "name", "new"], by_fact]));
        assert_eq!(without(&pinned, "mom"), Value::Null);
        assert_eq!(without(&json!(["=", "name", "mom"]), "mom"), Value::Null);
        // A name that stands in something else is somebody's own rule.
        let own = json!(["or", ["not", ["=", "name", "new"]], ["~", "name", "new"]]);
        assert!(!names(&own, "new"));
        assert_eq!(without(&own, "new"), own);
    }

    #[test]
    fn what_a_rule_says_is_found_wherever_it_stands() {
        let role = json!(["=", ["trusted", "extensions", "pp_auth_role"], "pe_compiler"]);
        assert!(says(&json!(["or", ["and", role], ["=", "name", "mom"]]), &role) && says(&role, &role));
        assert!(!says(&json!(["or", ["=", "name", "pe_compiler"]]), &role) && !says(&Value::Null, &role));
    }

    proptest! {
        #[test]
        fn a_name_that_is_added_twice_is_there_once(rule in any_or_none(), node in "[a-c]|new") {
            let once = with(&rule, &node);
            prop_assert!(names(&once, &node));
            prop_assert_eq!(with(&once, &node), once);
        }

        #[test]
        fn a_name_that_is_taken_away_again_leaves_the_rule_as_it_was(rule in any_or_none()) {
            prop_assume!(!names(&rule, "new"));
            prop_assert_eq!(without(&with(&rule, "new"), "new"), written(rule));
        }

        #[test]
        fn every_other_branch_stays_as_it_was_and_in_its_order(rule in any_or_none(), node in "[a-c]|new") {
            prop_assert_eq!(others(&with(&rule, &node), &node), others(&rule, &node));
            let less = without(&rule, &node);
            prop_assert!(!names(&less, &node));
            let expected = others(&rule, &node);
            // A rule that stood alone behind the name may itself be an `or`.
            prop_assert!(others(&less, &node) == expected || expected == [less]);
        }
    }
}
