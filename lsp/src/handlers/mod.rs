//! The protocol's methods: one request or notification, one file.

pub(crate) mod code_action;
pub(crate) mod code_action_resolve;
pub(crate) mod completion;
pub(crate) mod completion_stats;
pub(crate) mod configuration;
pub(crate) mod did_change;
pub(crate) mod did_close;
pub(crate) mod did_open;
pub(crate) mod did_save;
pub(crate) mod document_text;
pub(crate) mod execute_command;
pub(crate) mod holes;
pub(crate) mod infill;
pub(crate) mod initialize;
pub(crate) mod initialized;
pub(crate) mod inline_completion;
pub(crate) mod score;
pub(crate) mod seen;
pub(crate) mod set_trace;
pub(crate) mod shutdown;
pub(crate) mod status;
pub(crate) mod work_done_progress_cancel;
