//! One look at a twin: a few answers of its API together.

use serde_json::{Value, json};

use crate::client::{Client, ClientError};

/// Rows of each list that a page may show.
const ROWS: usize = 60;

/// What the twin said at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The plant at a glance.
    pub overview: Value,
    /// All latencies.
    pub latencies: Value,
    /// Devices, those with the oldest value first.
    pub devices: Value,
    /// Sessions.
    pub sessions: Value,
    /// The latest crossings.
    pub crossings: Value,
    /// The latest commands.
    pub commands: Value,
}

impl Look {
    /// Looks once.
    ///
    /// # Errors
    /// Nobody answers, or the twin refuses.
    pub fn take(client: &Client) -> Result<Self, ClientError> {
        let list = |path: &str| client.get(&format!("{path}limit={ROWS}"));
        Ok(Self {
            overview: client.get("/overview")?,
            latencies: client.get("/latencies")?,
            devices: list("/devices?sort=age&")?,
            sessions: list("/sessions?")?,
            crossings: list("/crossings?")?,
            commands: list("/commands?")?,
        })
    }

    /// All of it as one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "overview": self.overview,
            "latencies": self.latencies,
            "devices": self.devices["items"],
            "sessions": self.sessions["items"],
            "crossings": self.crossings["items"],
            "commands": self.commands["items"],
        })
    }

    /// A number of the overview by its path, such as `/tick/hz`; 0 where there is none.
    #[must_use]
    pub fn number(&self, path: &str) -> f64 {
        self.overview.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// A text of the overview by its path.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        self.overview.pointer(path).and_then(Value::as_str).unwrap_or("-")
    }

    /// A list of the overview by its path.
    #[must_use]
    pub fn list(&self, path: &str) -> &[Value] {
        self.overview.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}
