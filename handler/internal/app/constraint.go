package app

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// constraint is one rule for a parameter's value, such as "int" or "range(1,9)".
type constraint struct {
	text string // as written
	kind string // its name in lower case
	// holds judges a decoded value.
	holds func(value string) bool
	// loose says that .NET judges it in a way that we cannot repeat in full: the syntax of regular
	// expressions, the forms of a date. Where another route overlaps, nobody can say which of the
	// two the host takes, and that is a fault.
	loose bool
}

// The names of dotnet/aspnetcore src/Http/Routing/src/RouteOptions.cs, GetDefaultConstraintMap; one
// function each of src/Constraints.
var plainConstraints = sync.OnceValue(func() map[string]func(string) bool {
	return map[string]func(string) bool{
		"int":      func(v string) bool { return isInteger(v, 32) },
		"long":     func(v string) bool { return isInteger(v, 64) },
		"bool":     isBool,
		"datetime": mayBeDate,
		"decimal":  isDecimal,
		"double":   isDouble,
		// Since .NET Core 3.0 an overflow is infinity and no failure: both take the same texts.
		"float":    isDouble,
		"guid":     isGUID,
		"alpha":    isAlpha,
		"required": func(v string) bool { return v != "" },
		"file":     isFileName,
		"nonfile":  func(v string) bool { return !isFileName(v) },
	}
})

// parseConstraint reads one inline constraint. The host resolves names in any case, and refuses a
// wrong number or kind of arguments.
func parseConstraint(text string) (constraint, error) {
	name, argument, hasArgument := text, "", false
	if open := strings.IndexByte(text, '('); open >= 0 && strings.HasSuffix(text, ")") {
		name, argument, hasArgument = text[:open], text[open+1:len(text)-1], true
	}
	c := constraint{text: text, kind: strings.ToLower(name)}
	if holds, ok := plainConstraints()[c.kind]; ok {
		if hasArgument {
			return c, fmt.Errorf("the constraint %q takes no argument", text)
		}
		c.holds, c.loose = holds, c.kind == "datetime"
		return c, nil
	}
	if c.kind == "regex" {
		if !hasArgument {
			return c, fmt.Errorf(`the constraint %q lacks its pattern: want "regex(...)"`, text)
		}
		c.loose = true
		c.holds = func(string) bool { return true }
		// What Go's syntax lacks (look-around, back-references) is left to the host, which has
		// asked before us.
		if pattern, err := regexp.Compile("(?i)" + argument); err == nil {
			c.holds = pattern.MatchString
		}
		return c, nil
	}
	numbers, err := integers(argument, hasArgument)
	if err != nil && isNumeric(c.kind) {
		return c, fmt.Errorf("the constraint %q: %w", text, err)
	}
	length := func(v string) int64 { return int64(utf16Len(v)) }
	within := func(low, high int64) func(string) bool {
		return func(v string) bool {
			n, ok := parseInteger(v, 64)
			return ok && low <= n && n <= high
		}
	}
	switch {
	case c.kind == "minlength" && len(numbers) == 1 && numbers[0] >= 0:
		c.holds = func(v string) bool { return length(v) >= numbers[0] }
	case c.kind == "maxlength" && len(numbers) == 1 && numbers[0] >= 0:
		c.holds = func(v string) bool { return length(v) <= numbers[0] }
	case c.kind == "length" && len(numbers) == 1 && numbers[0] >= 0:
		c.holds = func(v string) bool { return length(v) == numbers[0] }
	case c.kind == "length" && len(numbers) == 2 && 0 <= numbers[0] && numbers[0] <= numbers[1]:
		c.holds = func(v string) bool { return numbers[0] <= length(v) && length(v) <= numbers[1] }
	case c.kind == "min" && len(numbers) == 1:
		c.holds = within(numbers[0], math.MaxInt64)
	case c.kind == "max" && len(numbers) == 1:
		c.holds = within(math.MinInt64, numbers[0])
	case c.kind == "range" && len(numbers) == 2 && numbers[0] <= numbers[1]:
		c.holds = within(numbers[0], numbers[1])
	case isNumeric(c.kind):
		return c, fmt.Errorf("the constraint %q has arguments that do not fit it", text)
	default:
		return c, fmt.Errorf("the constraint %q is unknown: want int, long, bool, datetime, "+
			"decimal, double, float, guid, minlength(n), maxlength(n), "+
			"length(n), length(n,m), min(n), max(n), range(n,m), alpha, regex(...), required, "+
			"file or nonfile", text)
	}
	return c, nil
}

func isNumeric(kind string) bool {
	switch kind {
	case "minlength", "maxlength", "length", "min", "max", "range":
		return true
	}
	return false
}

func integers(argument string, has bool) ([]int64, error) {
	if !has {
		return nil, fmt.Errorf("lacks its argument")
	}
	var numbers []int64
	for field := range strings.SplitSeq(argument, ",") {
		n, ok := parseInteger(field, 64)
		if !ok {
			return nil, fmt.Errorf("%q is no whole number", strings.TrimSpace(field))
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// dotnetBlanks are the characters that .NET's number styles allow around a number.
const dotnetBlanks = "\t\n\v\f\r "

func parseInteger(v string, bits int) (int64, bool) {
	v = strings.Trim(v, dotnetBlanks)
	n, err := strconv.ParseInt(v, 10, bits)
	return n, err == nil
}

func isInteger(v string, bits int) bool { _, ok := parseInteger(v, bits); return ok }

func isBool(v string) bool {
	v = strings.TrimFunc(v, func(r rune) bool { return r == 0 || unicode.IsSpace(r) })
	return strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
}

var (
	decimalForm = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[+-]?([0-9][0-9,]*\.?[0-9]*|\.[0-9]+)[+-]?$`)
	})
	doubleForm = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[+-]?([0-9][0-9,]*\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	})
	signTwice = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[+-].*[+-]$`) })
)

// isDecimal is decimal.TryParse with NumberStyles.Number: a sign in front or behind, commas between
// digits, no exponent, 96 bits.
func isDecimal(v string) bool {
	v = strings.Trim(v, dotnetBlanks)
	if !decimalForm().MatchString(v) || signTwice().MatchString(v) {
		return false
	}
	whole, _, _ := strings.Cut(strings.ReplaceAll(strings.Trim(v, "+-"), ",", ""), ".")
	whole = strings.TrimLeft(whole, "0")
	const greatest = "79228162514264337593543950335"
	return len(whole) < len(greatest) || len(whole) == len(greatest) && whole <= greatest
}

// isDouble is double.TryParse with NumberStyles.Float and AllowThousands.
func isDouble(v string) bool {
	v = strings.Trim(v, dotnetBlanks)
	if doubleForm().MatchString(v) {
		return true
	}
	switch strings.ToLower(strings.TrimLeft(v, "+-")) {
	case "infinity", "nan", "∞":
		return len(v)-len(strings.TrimLeft(v, "+-")) <= 1
	}
	return false
}

// mayBeDate takes whatever DateTime.TryParse might take and refuses only what it cannot.
func mayBeDate(v string) bool {
	digit := false
	for _, r := range v {
		switch {
		case unicode.IsDigit(r):
			digit = true
		case unicode.IsLetter(r), unicode.IsSpace(r), strings.ContainsRune("/-:.,+'", r):
		default:
			return false
		}
	}
	return digit
}

var guidForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|` +
		`\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}|` +
		`\([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)|` +
		`\{0x[0-9a-f]{1,8},0x[0-9a-f]{1,4},0x[0-9a-f]{1,4},` +
		`\{0x[0-9a-f]{1,2}(,0x[0-9a-f]{1,2}){7}\}\})$`)
})

func isGUID(v string) bool { return guidForm().MatchString(strings.TrimSpace(v)) }

// isAlpha is the expression ^[a-z]*$ without regard to case, with .NET's notion of the end of a
// line and of the Kelvin sign.
func isAlpha(v string) bool {
	for _, r := range strings.TrimSuffix(v, "\n") {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '\u212A' {
			return false
		}
	}
	return true
}

// isFileName: the last segment has a period with something else than periods after it.
func isFileName(v string) bool {
	v = v[strings.LastIndexByte(v, '/')+1:]
	_, after, found := strings.Cut(v, ".")
	return found && strings.Trim(after, ".") != ""
}
