package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Facts are what may be shown of a token.
type Facts struct {
	Issuer    string    `json:"iss,omitempty"`
	Audience  []string  `json:"aud,omitempty"`
	Roles     []string  `json:"roles,omitempty"`
	Scopes    string    `json:"scp,omitempty"`
	Tenant    string    `json:"tid,omitempty"`
	Caller    string    `json:"caller,omitempty"` // appid or azp
	Object    string    `json:"oid,omitempty"`
	Version   string    `json:"ver,omitempty"`
	Algorithm string    `json:"alg,omitempty"`
	KeyID     string    `json:"kid,omitempty"`
	IssuedAt  time.Time `json:"iat,omitzero"`
	NotBefore time.Time `json:"nbf,omitzero"`
	Expires   time.Time `json:"exp,omitzero"`
	Hash      string    `json:"hash,omitempty"` // the first 12 hex digits of the token's SHA-256
}

// token is a token that was taken apart. Its text is not kept beyond what the signature needs.
type token struct {
	claims             map[string]any
	algorithm          string
	keyID              string
	signed             string // header and payload, what the signature is over
	signature          []byte
	encrypted          bool
	hash               string
	exp, nbf, iat      time.Time
	hasExp, hasNBF, ok bool
}

var parser = jwt.NewParser(jwt.WithJSONNumber())

// readToken takes a token apart without checking its signature. The error never holds the token's text. An encrypted token comes back with an
// error and encrypted set.
func readToken(text string) (*token, error) {
	sum := sha256.Sum256([]byte(text))
	t := &token{hash: hex.EncodeToString(sum[:])[:12]}
	parts := strings.Split(text, ".")
	if len(parts) == 5 {
		t.encrypted = true
		return t, errors.New("the token is encrypted (five segments)")
	}
	if len(parts) != 3 {
		return nil, fmt.Errorf("the token has %d segments separated by periods: want three", len(parts))
	}
	claims := jwt.MapClaims{}
	parsed, _, err := parser.ParseUnverified(text, claims)
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable): // an algorithm that the library does not know: a fault of the signature, not of the form
	case err != nil:
		// The library's text may repeat parts of the token.
		return nil, errors.New("header and payload are not JSON objects in base64url")
	}
	t.claims = claims
	t.algorithm, _ = parsed.Header["alg"].(string)
	t.keyID, _ = parsed.Header["kid"].(string)
	t.signed = parts[0] + "." + parts[1]
	if t.signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return nil, errors.New("the signature is not base64url")
	}
	return t, t.readTimes()
}

// fromClaims makes a token of claims alone, for doctor.
func fromClaims(claims map[string]any) (*token, error) {
	// Through JSON, so that []string, json.Number, float64 and int look as they would in a token.
	data, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("the claims are not JSON: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	t := &token{}
	if err := dec.Decode(&t.claims); err != nil {
		return nil, fmt.Errorf("the claims are not a JSON object: %w", err)
	}
	return t, t.readTimes()
}

func (t *token) readTimes() error {
	var err error
	read := func(name string) (time.Time, bool) {
		value, there := t.claims[name]
		if !there || value == nil {
			return time.Time{}, false
		}
		number, isNumber := value.(json.Number)
		seconds, failed := number.Float64()
		if !isNumber || failed != nil || math.Abs(seconds) > 253402300799 { // the end of the year 9999
			err = fmt.Errorf("claim %s is no time: want seconds since 1970", name)
			return time.Time{}, true
		}
		whole, part := math.Modf(seconds)
		return time.Unix(int64(whole), int64(part*1e9)).UTC(), true
	}
	t.exp, t.hasExp = read("exp")
	t.nbf, t.hasNBF = read("nbf")
	t.iat, _ = read("iat")
	t.ok = err == nil
	return err
}

func (t *token) facts() *Facts {
	text := func(name string) string { s, _ := t.claims[name].(string); return s }
	f := &Facts{
		Issuer: text("iss"), Scopes: text("scp"), Tenant: text("tid"), Caller: t.caller(), Object: text("oid"), Version: text("ver"),
		Algorithm: clip(t.algorithm), KeyID: clip(t.keyID), IssuedAt: t.iat, NotBefore: t.nbf, Expires: t.exp, Hash: t.hash,
	}
	f.Audience, _ = t.values("aud", "")
	f.Roles, _ = t.values("roles", "")
	return f
}

// caller is the client id of who asked for the token: appid in v1 tokens, azp in v2.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
func (t *token) caller() string {
	if id, ok := t.claims["appid"].(string); ok {
		return id
	}
	id, _ := t.claims["azp"].(string)
	return id
}

// values returns a claim as texts: an array's elements, a single value as one, a string split where there is a separator.
func (t *token) values(name, separator string) ([]string, bool) {
	switch value := t.claims[name].(type) {
	case nil:
		return nil, false
	case []any:
		all := make([]string, len(value))
		for i, v := range value {
			all[i] = plain(v)
		}
		return all, true
	case string:
		if separator == "" {
			return []string{value}, true
		}
		var all []string
		for part := range strings.SplitSeq(value, separator) {
			if part != "" {
				all = append(all, part)
			}
		}
		return all, true
	default:
		return []string{plain(value)}, true
	}
}

func plain(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	data, _ := json.Marshal(value) // it came from JSON
	return string(data)
}

// clip keeps what a caller chose freely from filling a trace.
func clip(text string) string {
	const most = 80
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
