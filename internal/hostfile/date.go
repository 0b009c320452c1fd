package hostfile

import (
	"strconv"
	"strings"
	"time"
)

// parseDate reads a text as Newtonsoft's DateParseHandling.DateTime does; ok is false for
// everything that stays a text. Source: JamesNK/Newtonsoft.Json,
// Src/Newtonsoft.Json/Utilities/DateTimeParser.cs and DateTimeUtils.cs.
func parseDate(s string) (DateTime, bool) {
	if strings.HasPrefix(s, "/Date(") && strings.HasSuffix(s, ")/") {
		digits := s[6 : len(s)-2]
		zone := byte('Z')
		if at := strings.LastIndexAny(digits, "+-"); at > 0 {
			digits, zone = digits[:at], 'L'
		}
		ms, err := strconv.ParseInt(digits, 10, 64)
		return DateTime{time.UnixMilli(ms).UTC(), zone}, err == nil
	}
	if len(s) < 19 || len(s) > 40 || s[0] < '0' || s[0] > '9' || s[10] != 'T' {
		return DateTime{}, false
	}
	t, err := time.Parse("2006-01-02T15:04:05", s[:19])
	if err != nil {
		return DateTime{}, false
	}
	rest := s[19:]
	if strings.HasPrefix(rest, ".") {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 1 || n > 8 {
			return DateTime{}, false
		}
		ticks, _ := strconv.Atoi((rest[1:n] + "0000000")[:7])
		t, rest = t.Add(time.Duration(ticks)*100), rest[n:]
	}
	switch rest {
	case "":
		return DateTime{t, 0}, true
	case "Z":
		return DateTime{t, 'Z'}, true
	}
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if z, err := time.Parse(layout, rest); err == nil {
			_, offset := z.Zone()
			return DateTime{t.Add(-time.Duration(offset) * time.Second), 'L'}, true
		}
	}
	return DateTime{}, false
}
