package host

import "strings"

// query is a parsed query string: names in the order of their first appearance, ignoring case, with
// all values of each.
type query []queryItem

type queryItem struct {
	name   string // as it was first
	again  string // and as it was the second time, which a forwarded query keeps
	values []string
}

// parseQuery is QueryHelpers.ParseQuery (dotnet/aspnetcore
// src/Http/WebUtilities/src/QueryHelpers.cs): & separates, + is a blank, a name without = has an
// empty value, empty pairs vanish, malformed escapes stay.
func parseQuery(raw string) query {
	var q query
	for pair := range strings.SplitSeq(strings.TrimPrefix(raw, "?"), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		q.add(queryText(name), queryText(value))
	}
	return q
}

func queryText(s string) string { return decodeText(strings.ReplaceAll(s, "+", " ")) }

func (q *query) add(name, value string) {
	for i := range *q {
		if strings.EqualFold((*q)[i].name, name) {
			if len((*q)[i].values) == 1 {
				(*q)[i].again = name
			}
			(*q)[i].values = append((*q)[i].values, value)
			return
		}
	}
	*q = append(*q, queryItem{name, name, []string{value}})
}

// get is all values of a name.
func (q query) get(name string) []string {
	for _, item := range q {
		if strings.EqualFold(item.name, name) {
			return item.values
		}
	}
	return nil
}

// What System.Text.Encodings.Web's UrlEncoder.Default leaves alone.
const urlEncoderChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$()*,;@"

// rewrite is the query of a forwarded request: parsed and put together again by
// QueryHelpers.AddQueryString (recording D-get-query); the second spelling of a name stays, neither
// the first nor the third (seen on 4.1037: A=1&a=2 becomes a=1,2).
func (q query) rewrite() string {
	var b strings.Builder
	for i, item := range q {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(escapeExcept(item.again, urlEncoderChars, false))
		b.WriteByte('=')
		b.WriteString(escapeExcept(strings.Join(item.values, ","), urlEncoderChars, false))
	}
	return b.String()
}

// without is the query, rewritten, less one name: for logs, which must not hold a key.
func (q query) without(name string) string {
	var rest query
	for _, item := range q {
		if !strings.EqualFold(item.name, name) {
			rest = append(rest, item)
		}
	}
	return rest.rewrite()
}

// queryOf is the caller's query as QueryString.ToUriComponent writes it: as it came, but for a #
// that was not escaped (dotnet/aspnetcore src/Http/Http.Abstractions/src/QueryString.cs).
func queryOf(r *request) string { return strings.ReplaceAll(r.rawQuery, "#", "%23") }
