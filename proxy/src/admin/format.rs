//! In which format a scrape is wanted: Prometheus asks for protobuf first where it is told to keep native histograms.
#![deny(clippy::disallowed_methods)]

use axum::http::{HeaderMap, header};

use crate::observe::latency::Format;

/// What this request would rather have. Text where it does not say, so that whoever looks can read it.
pub(super) fn wanted(headers: &HeaderMap) -> Format {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accepted = values.flat_map(|value| value.split(',')).map(Accepted::of);
    let (mut protobuf, mut text) = (0.0_f32, 0.0_f32);
    for one in accepted {
        if one.is_protobuf() {
            protobuf = protobuf.max(one.weight);
        } else if one.is("application/openmetrics-text") {
            text = text.max(one.weight);
        }
    }
    if protobuf > text { Format::Protobuf } else { Format::Text }
}

/// One range of an `Accept`.
struct Accepted<'a> {
    range: &'a str,
    weight: f32,
}

impl<'a> Accepted<'a> {
    fn of(range: &'a str) -> Self {
        let weight = parameter(range, "q").map_or(Some(1.0), |q| q.parse().ok());
        Self { range, weight: weight.filter(|q| (0.0..=1.0).contains(q)).unwrap_or_default() }
    }

    fn is(&self, kind: &str) -> bool {
        self.range.split(';').next().is_some_and(|of| of.trim().eq_ignore_ascii_case(kind))
    }

    /// The one kind of protobuf that there is here.
    fn is_protobuf(&self) -> bool {
        self.is("application/vnd.google.protobuf")
            && parameter(self.range, "proto") == Some("io.prometheus.client.MetricFamily")
            && parameter(self.range, "encoding") == Some("delimited")
    }
}

fn parameter<'a>(range: &'a str, name: &str) -> Option<&'a str> {
    let parameters = range.split(';').skip(1).filter_map(|one| one.split_once('='));
    let mut values = parameters.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(accept: &'static str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        wanted(&headers)
    }

    #[test]
    fn prometheus_gets_protobuf_where_it_keeps_native_histograms_and_text_elsewhere() {
        // As versions 2.42 and 2.55 ask with native histograms on, and 2.42 without.
        let on = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                  application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(asked(on), Format::Protobuf);
        let later = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                     application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2";
        assert_eq!(asked(later), Format::Protobuf);
        let off = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(asked(off), Format::Text);
    }

    #[test]
    fn whoever_does_not_say_or_says_nonsense_gets_text() {
        assert_eq!(wanted(&HeaderMap::new()), Format::Text);
        for accept in [
            "*/*",
            "text/html,application/xhtml+xml;q=0.9",
            "application/vnd.google.protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=nan",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0",
            ";;=,,q=1",
        ] {
            assert_eq!(asked(accept), Format::Text, "{accept}");
        }
    }
}
