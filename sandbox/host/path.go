package host

import (
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func escapeAt(s string, i int) (byte, bool) {
	if i+2 >= len(s) || s[i] != '%' {
		return 0, false
	}
	hi, lo := unhex(s[i+1]), unhex(s[i+2])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true
}

// decodePath is Kestrel's: escapes of well-formed UTF-8 are decoded once, all others and %2F stay
// as they are (dotnet/aspnetcore src/Shared/UrlDecoder/UrlDecoder.cs; recordings D-path-latin1,
// A-route-name-id). ok is false for %00, which is a 400 (D-path-null).
func decodePath(raw string) (path string, ok bool) {
	return unescape(raw, true)
}

// decodeText is Uri.UnescapeDataString: as decodePath, but every well-formed escape is decoded.
func decodeText(raw string) string {
	s, _ := unescape(raw, false)
	return s
}

func unescape(raw string, path bool) (string, bool) {
	if !strings.Contains(raw, "%") {
		return raw, !path || !strings.Contains(raw, "\x00")
	}
	var b strings.Builder
	for i := 0; i < len(raw); {
		c, isEscape := escapeAt(raw, i)
		if !isEscape {
			b.WriteByte(raw[i])
			i++
			continue
		}
		if c < utf8.RuneSelf {
			if path && c == 0 {
				return "", false
			}
			if path && c == '/' {
				b.WriteString(raw[i : i+3])
			} else {
				b.WriteByte(c)
			}
			i += 3
			continue
		}
		var seq []byte
		for j := i; len(seq) < utf8.UTFMax; j += 3 {
			next, ok := escapeAt(raw, j)
			if !ok {
				break
			}
			seq = append(seq, next)
			if utf8.FullRune(seq) {
				break
			}
		}
		r, size := utf8.DecodeRune(seq)
		if r == utf8.RuneError && size <= 1 {
			b.WriteString(raw[i : i+3])
			i += 3
			continue
		}
		b.WriteRune(r)
		i += 3 * size
	}
	return b.String(), true
}

// removeDots resolves the dot segments of a decoded path, as Kestrel does before routing
// (src/Servers/Kestrel/Core/src/Internal/Http/PathNormalizer.cs). "..%2Fb" is no dot segment, since
// a %2F stays as it is (recording A-route-name-id).
func removeDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path, "/")[1:]
	out := make([]string, 0, len(segments))
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

const (
	unreservedChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
	pchars          = unreservedChars + "!$&'()*+,;=:@/"
)

func escapeExcept(s, allowed string, keepEscapes bool) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if strings.IndexByte(allowed, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		if _, ok := escapeAt(s, i); ok && keepEscapes {
			b.WriteString(s[i : i+3])
			i += 2
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String()
}

// escapePath is PathString.ToUriComponent: what a path may hold stays, an escape stays
// (dotnet/aspnetcore src/Http/Http.Abstractions/src/PathString.cs).
func escapePath(path string) string { return escapeExcept(path, pchars, true) }

// escapePathAll is YARP's: a percent sign is escaped whatever follows, which makes %252F of a %2F
// that Kestrel left (dotnet/yarp src/ReverseProxy/Forwarder/RequestUtilities.cs; recording
// P-route-name-id).
func escapePathAll(path string) string { return escapeExcept(path, pchars, false) }

// escapeURI is what System.Uri makes of a path or query: reserved and unreserved characters and
// escapes stay, backslashes of a path become slashes (recordings D-path-brackets, D-path-backslash,
// D-route-semicolon-query).
func escapeURI(s string) string { return escapeExcept(s, pchars+"?#[]", true) }

// forwardPath is the path of a forwarded request: the decoded path put into a Uri again, so that it
// ends at the first ? or # that was escaped.
func forwardPath(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	return removeDots(escapeURI(strings.ReplaceAll(path, `\`, "/")))
}
