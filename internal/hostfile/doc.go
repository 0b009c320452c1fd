// Package hostfile reads the formats of the Functions host that both the handler and the host's
// stand-in have to know: its lenient JSON, .NET's time spans, the schedules of timers, and app
// settings by name. Tables of recorded or published results decide them, so one reader serves both
// programs.
//
// Errors about a file name it with line, member and cause. They never hold a value: it may be a
// secret.
package hostfile
