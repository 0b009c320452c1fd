package host

import (
	"slices"
	"strings"
	"time"
)

// What HttpHeaders hands out of one line of a header whose grammar .NET knows: the value read and written anew, so that blanks and order are .NET's.
// A value that its grammar does not take goes on as it came (dotnet/runtime src/libraries/System.Net.Http/src/System/Net/Http/Headers/{HttpHeaders,
// KnownHeaders}.cs; recording D-ans-headers).

// parsedValues is what HttpHeaders hands out of one line: the items of a list, and Cache-Control in its own order.
func parsedValues(lower, value string) []string {
	switch lower {
	case "accept-ranges", "allow", "connection", "content-encoding", "content-language", "pragma", "trailer", "transfer-encoding", "upgrade", "vary", "via",
		"warning":
		return splitList(value)
	case "www-authenticate", "proxy-authenticate":
		return splitChallenges(value)
	case "server":
		return splitProducts(value)
	case "cache-control":
		return []string{cacheControl(value)}
	case "content-type", "content-disposition":
		if written, ok := withParameters(value, lower == "content-type"); ok {
			return []string{written}
		}
	case "date", "expires", "last-modified", "retry-after":
		return []string{httpDate(value)}
	case "location", "content-location":
		return []string{absoluteURI(value)}
	}
	return []string{value}
}

// withParameters reads a media type, or the type of a disposition, with its parameters, and writes it with "; " between them
// (MediaTypeHeaderValue.cs, ContentDispositionHeaderValue.cs, NameValueHeaderValue.cs). ok is false for what does not fit the grammar.
func withParameters(s string, media bool) (written string, ok bool) {
	parts := splitOutsideQuotes(s, ';')
	kind := blank(parts[0])
	if media {
		kind, sub, slash := strings.Cut(kind, "/")
		if !slash || !isToken(blank(kind)) || !isToken(blank(sub)) {
			return "", false
		}
		parts[0] = blank(kind) + "/" + blank(sub)
	} else if parts[0] = kind; !isToken(kind) {
		return "", false
	}
	for i, p := range parts[1:] {
		name, value, hasValue := strings.Cut(p, "=")
		name, value = blank(name), blank(value)
		if !isToken(name) || hasValue && !isToken(value) && !isQuoted(value) {
			return "", false
		}
		if hasValue {
			name += "=" + value
		}
		parts[i+1] = name
	}
	return strings.Join(parts, "; "), true
}

func blank(s string) string { return strings.Trim(s, " \t") }

// isQuoted tells a quoted-string: no quote inside but behind a backslash.
func isQuoted(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	inner := s[1 : len(s)-1]
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' {
			if i++; i == len(inner) {
				return false
			}
		} else if inner[i] == '"' {
			return false
		}
	}
	return true
}

func splitOutsideQuotes(s string, separator byte) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			out, start = append(out, s[start:i]), i+1
		}
	}
	return append(out, s[start:])
}

// httpDate writes a date of any of HTTP's forms in the preferred one (System.Net.Http/src/System/Net/Http/Headers/HttpDateParser.cs, of whose forms these
// are the usual ones).
func httpDate(s string) string {
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", "Mon Jan _2 15:04:05 2006",
		"Mon, _2 Jan 2006 15:04:05 -0700"} {
		t, err := time.Parse(layout, s)
		if err == nil && strings.HasPrefix(s, t.Format("Mon")) { // the parser does not take a wrong weekday
			return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
		}
	}
	return s
}

// absoluteURI is Uri.AbsoluteUri of an http or https address: scheme and host in lower case, no port where it is the scheme's own, dot segments
// resolved, at least a slash for a path (UriHeaderParser.cs; learn.microsoft.com, "Uri class", canonicalization). A relative one stays (recording
// D-ans-201).
func absoluteURI(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	if !ok || port == "" {
		return s
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	user, host, hasUser := strings.Cut(authority, "@")
	if !hasUser {
		user, host = "", authority
	}
	host = strings.TrimSuffix(strings.ToLower(host), port)
	if host = strings.TrimSuffix(host, ":"); host == "" {
		return s
	}
	if hasUser {
		host = user + "@" + host
	}
	end = strings.IndexAny(rest, "?#")
	if end < 0 {
		end = len(rest)
	}
	path, rest := rest[:end], rest[end:]
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + removeDots(path) + rest
}

func splitList(s string) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '"' {
			quoted = !quoted
		}
		if i == len(s) || s[i] == ',' && !quoted {
			if item := strings.TrimSpace(s[start:i]); item != "" {
				out = append(out, item)
			}
			start = i + 1
		}
	}
	return out
}

// splitChallenges keeps the parameters of a challenge together: an item of the form name=value belongs to the one before.
func splitChallenges(s string) []string {
	var out []string
	for _, item := range splitList(s) {
		name, _, isParam := strings.Cut(item, "=")
		if isParam && len(out) > 0 && !strings.Contains(strings.TrimSpace(name), " ") {
			out[len(out)-1] += ", " + item
			continue
		}
		out = append(out, item)
	}
	return out
}

func splitProducts(s string) []string {
	var out []string
	depth, start := 0, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '(':
			depth++
		case i < len(s) && s[i] == ')':
			depth--
		case i == len(s) || s[i] == ' ' && depth == 0:
			if i > start {
				out = append(out, s[start:i])
			}
			start = i + 1
		}
	}
	return out
}

// cacheControl is CacheControlHeaderValue.ToString (recording D-ans-headers: no-cache="x", max-age=0, private).
func cacheControl(value string) string {
	order := []string{"no-store", "no-transform", "only-if-cached", "public", "must-revalidate", "proxy-revalidate", "no-cache", "max-age",
		"s-maxage", "max-stale",
		"min-fresh", "private"}
	items := splitList(value)
	place := func(item string) int {
		name, _, _ := strings.Cut(strings.ToLower(item), "=")
		if i := slices.Index(order, strings.TrimSpace(name)); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(items, func(a, b string) int { return place(a) - place(b) })
	return strings.Join(items, ", ")
}
