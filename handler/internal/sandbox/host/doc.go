// Package host is a stand-in for the Azure Functions host v4 and a custom handler: it reads a script root, starts the executable that host.json names,
// and calls it for HTTP requests, timers and events as the real host does, on a laptop without an Azure account.
package host
