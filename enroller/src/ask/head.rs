//! The head of an answer as `curl --include` gives it.
#![deny(clippy::disallowed_methods)]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Answer;

/// Reads head and body; none where it is no answer of HTTP/1.1.
pub(super) fn read(text: &[u8]) -> Option<Answer> {
    let mut rest = text;
    loop {
        let end = find(rest, b"\r\n\r\n")?;
        let (head, body) = (rest.get(..end)?, rest.get(end + 4..)?);
        let head = std::str::from_utf8(head).ok()?;
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let status = StatusCode::from_u16(status).ok()?;
        if status.is_informational() {
            rest = body;
            continue;
        }
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_str(value.trim()).ok()?,
            );
        }
        return Some(Answer { status, headers, body: Bytes::copy_from_slice(body) });
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_read_behind_what_came_before_it() {
        let text =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\nETag: \"a\"\r\nX: y\r\n\r\nbo\r\n\r\ndy";
        let answer = read(text).unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (409, Some("\"a\"")));
        assert_eq!(&answer.body[..], b"bo\r\n\r\ndy");
        for bad in [
            "",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
        ] {
            assert!(read(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_is_none(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut whole = b"HTTP/1.1 200 OK\r\n".to_vec();
            whole.extend(&text);
            read(&whole);
            read(&text);
        }
    }
}
