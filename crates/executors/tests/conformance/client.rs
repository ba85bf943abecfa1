//! The client under the suite: does with the server of a scenario what the scenario wants of a client, by the same
//! dispatcher that runs use. It does not judge; the suite does.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Report, ToolWork, Work};
use raddle_engine::ports::Dispatcher;
use raddle_engine::{Attempt, TaskIx};
use raddle_executors::mcp::Elicitation;
use raddle_executors::{LocalConfig, LocalDispatcher, Reach, ServerAddress, ServerSettings};
use serde_json::{Value, json};

/// No tool; calling it connects and lists what there is.
const NONE: &str = "no such tool";

struct Caller {
    hands: LocalDispatcher,
    run_dir: Arc<Path>,
    asked: u32,
}

impl Caller {
    fn ask(&mut self, tool: &str, arguments: Value) {
        self.asked += 1;
        self.hands.start(AttemptSpec {
            key: AttemptKey { task: TaskIx(self.asked), attempt: Attempt(1) },
            epoch: 1,
            task_id: format!("call{}", self.asked).into(),
            work: Work::Tool(Box::new(ToolWork {
                server: "suite".into(),
                tool: tool.into(),
                arguments,
                idempotency_key: format!("call{}", self.asked),
            })),
            env: Vec::new(),
            cwd: "/".into(),
            timeout: Duration::from_secs(60),
            idle: None,
            run_dir: Arc::clone(&self.run_dir),
            demands: Default::default(),
        });
    }

    fn ended(&mut self, mut calls: usize) {
        let mut reports = Vec::new();
        while calls > 0 {
            self.hands.wait(None, &mut reports);
            for report in reports.drain(..) {
                if let Report::Ended(Ended { key, result, .. }) = report {
                    println!("call{}: {result:?}", key.task.0);
                    calls -= 1;
                }
            }
        }
    }

    fn call(&mut self, tool: &str, arguments: Value) {
        self.ask(tool, arguments);
        self.ended(1);
    }

    /// Names and schemas of what the server offers.
    fn tools(&mut self) -> Vec<(String, Value)> {
        self.call(NONE, json!({}));
        self.hands.tools("suite").iter().map(|tool| (tool.name.clone(), tool.schema.clone())).collect()
    }
}

/// Plays the scenario that the suite names in `MCP_CONFORMANCE_SCENARIO`.
pub(crate) fn play(url: String) -> Result<(), Box<dyn Error>> {
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let context: Value =
        std::env::var("MCP_CONFORMANCE_CONTEXT").ok().and_then(|c| serde_json::from_str(&c).ok()).unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("raddle-conformance-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let server = ServerSettings {
        elicitation: Elicitation::Defaults,
        ..Reach::Address(ServerAddress { url, headers: Vec::new() }).into()
    };
    let config = LocalConfig { servers: BTreeMap::from([("suite".into(), server)]), ..LocalConfig::default() };
    let mut caller = Caller { hands: LocalDispatcher::new(config)?, run_dir: folder.clone().into(), asked: 0 };
    match scenario.as_str() {
        "tools_call" => caller.call("add_numbers", json!({"a": 5, "b": 3})),
        "elicitation-sep1034-client-defaults" => caller.call("test_client_elicitation_defaults", json!({})),
        "sse-retry" => caller.call("test_reconnection", json!({})),
        "sep-2322-client-request-state" => {
            // Side by side, so that the answers of one could get into another.
            for tool in ["echo_state", "unrelated", "no_state", "no_result_type"] {
                caller.ask(&format!("test_mrtr_{tool}"), json!({}));
            }
            caller.ended(4);
        }
        "http-custom-headers" => {
            for call in context["toolCalls"].as_array().into_iter().flatten() {
                // A null for a boolean does not fit the tool's schema, hence would never be sent; absent it may be.
                let mut arguments = call["arguments"].as_object().cloned().unwrap_or_default();
                arguments.retain(|_, value| !value.is_null());
                caller.call(call["name"].as_str().unwrap_or_default(), arguments.into());
            }
        }
        "http-standard-headers" => {
            caller.call("my-hyphenated-tool", json!({}));
            caller.call("resources/read", json!({"uri": "file:///path/to/file%20name.txt"}));
        }
        "json-schema-2020-12-preservation" => {
            let tools = caller.tools();
            let focal = tools.iter().find(|(name, _)| name == "json_schema_2020_12_tool").ok_or("no focal tool")?;
            let echo = tools.iter().find(|(name, _)| name != &focal.0).ok_or("no echo tool")?;
            caller.call(&echo.0, json!({"schema": focal.1}));
        }
        // All that are offered, with a text wherever one is wanted.
        _ => {
            for (name, schema) in caller.tools() {
                let properties = schema["properties"].as_object().cloned().unwrap_or_default();
                let text = |(name, _)| (name, Value::from("text"));
                caller.call(&name, Value::Object(properties.into_iter().map(text).collect()));
            }
        }
    }
    drop(caller);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
