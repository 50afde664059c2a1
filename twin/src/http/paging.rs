//! Names in a path, parameters of a query, and lists in pages. What is not understood is a problem, not a line of text.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Items of a page, where the caller asks for no number.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Items of a page at most.
pub(super) const LIMIT_MAX: usize = 1000;

/// One page of a list.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Page<T> {
    /// What the page holds.
    pub(super) items: Vec<T>,
    /// Items that the filters let through, on all pages together.
    pub(super) total: usize,
    /// What to ask for as `after` to get the next page, if there is one.
    pub(super) next: Option<usize>,
}

impl<T> Page<T> {
    /// The page of `limit` items that begins after `after` items of `all`; only its own items are made.
    pub(super) fn of<S>(
        all: impl Iterator<Item = S>,
        after: Option<usize>,
        limit: Option<usize>,
        make: impl Fn(S) -> T,
    ) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::malformed(format!("limit: must be from 1 to {LIMIT_MAX}")));
        }
        let begin = after.unwrap_or(0);
        let end = begin.saturating_add(limit);
        let (mut items, mut total) = (Vec::new(), 0);
        for item in all {
            if (begin..end).contains(&total) {
                items.push(make(item));
            }
            total += 1;
        }
        Ok(Self { items, total, next: (end < total).then_some(end) })
    }
}

/// The names in a path.
pub(super) struct Names<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|reason| Problem::malformed(reason.body_text()))
    }
}

/// The parameters behind the question mark.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::try_from_uri(&parts.uri);
        query
            .map(|Query(value)| Self(value))
            .map_err(|reason| Problem::malformed(reason.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_the_last_one_says_so() {
        let page = |after, limit| Page::of(0..5, after, limit, |n| n * 10);
        let first = page(None, Some(2)).unwrap();
        assert_eq!((first.items, first.total, first.next), (vec![0, 10], 5, Some(2)));
        let last = page(Some(4), Some(2)).unwrap();
        assert_eq!((last.items, last.next), (vec![40], None));
        assert!(page(Some(9), None).unwrap().items.is_empty());
        assert!(page(None, Some(0)).is_err() && page(None, Some(1001)).is_err());
        assert_eq!(page(Some(usize::MAX), Some(2)).unwrap().next, None);
    }
}
