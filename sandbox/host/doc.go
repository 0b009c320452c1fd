// Package host is a stand-in for the Azure Functions host v4 and a custom handler: it reads a
// script root, starts the executable that host.json names, and calls it for HTTP requests, timers
// and events as the real host does, on a laptop without an Azure account.
//
// It is as faithful as a handler written with an ordinary HTTP library and a caller with an
// ordinary client can see: status, header fields as a set with values in order, body, length or
// chunked, log lines, retries, kills and the life cycle. It stands on net/http: order and spelling
// of header names, reason phrases, sizes of packets, how .NET rewrites a value, and what Kestrel
// and HttpClient say to malformed HTTP are not its business.
//
// What it does follows the recordings of the real host (4.1037) in testdata and the sources that
// each file names. A test replays every recording, compares by that promise, and holds this list of
// those that differ:
//
//   - A-root: the start page is Microsoft's, 150 kB of it; ours is a line of text.
//   - D-root: as A-root.
//   - P-root: as A-root.
//   - A-absolute-form: Kestrel refuses an absolute target of another host than the field Host
//     names; net/http does not show the field then.
//   - D-absolute-form: as A-absolute-form.
//   - P-absolute-form: as A-absolute-form.
//   - B-status-0: a status that is none goes out as it is, but with a length instead of chunks.
//   - B-status-99: as B-status-0.
//   - B-status-100: as B-status-0.
//   - D-ans-header-badname: HttpClient refuses an answer with a blank in the name of a field;
//     net/http reads on.
//   - D-ans-headers: .NET puts the directives of Cache-Control into an order of its own.
//   - D-path-invalid-percent: net/http refuses a target with a percent sign that begins no escape
//     (400).
//
// Beyond the recordings: keys are handed in, not kept in files; nothing is read from or written to
// a storage account, so queues, blobs, hubs and topics exist only as events fired by hand, and
// outputs are kept in memory (Outputs); extension bundles are not loaded, and their triggers'
// settings not checked; status and lock of a timer are files of Config.StatusDir; there is no Easy
// Auth, no CORS of the platform, no HTTPS; the regex constraint of a route is Go's; http.routes and
// configurationProfile of host.json are not known; stack traces name no frames but those that a
// RetryContext carries; of the host's own log lines only those are written that tell what happens
// to the handler; it listens on loopback only; a second signal ends it at once; the keys of the
// admin API (/admin/functions/<name>/keys) are not served, RotateKey is.
//
// Inferred from sources, without a recording: a forwarded Content-Type that is none fails the call;
// a known method goes out in capitals; JSON deeper than 64 gives no metadata; an empty list of
// methods fits no request, authLevel user and system ask for the master key, names of bindings are
// unique; slashes of prefix and route are not trimmed; a run through the admin API has no retries;
// clock changes; logging.logLevel; customHeaders beside a function's own answers; shapes of Service
// Bus, Event Hubs, Event Grid, blob and Cosmos DB.
//
// Not established, and done in the plainest way: the size limit of chunked and proxied uploads
// (none), uploads that stall (waited for), the answer's encoding under Accept-Charset (always
// UTF-8), redirects of a wrapped call to another address than the handler's (not followed, a
// failure), upgrades of a forwarded call.
//
// What goes wrong on request is in faults.go, each with what of the real host it looks like; all of
// it is off at first. Manage serves it over HTTP.
package host
