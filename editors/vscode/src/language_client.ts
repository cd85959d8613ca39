// What of the language client's package is used when it runs. A bundle of its own, nine tenths of all code: it is loaded when the
// server is started, which activation does not wait for.

export { CloseAction, ErrorAction, LanguageClient, TransportKind } from 'vscode-languageclient/node';
