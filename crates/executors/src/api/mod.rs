//! Agent tasks that need no tools, answered by a provider's HTTP interface without any agent process. It does not know
//! tools, files or conversations.

mod call;
mod dialect;
mod executor;
mod heard;
mod providers;
mod verdict;

pub use executor::ApiExecutor;
pub use providers::{ApiConfig, Kind, ModelRoute, ProviderConfig, RouteError, Target};
