package doctor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strings"
	"sync"

	"apimrelay/handler/internal/cause"
)

// accepted are the keys that a call may be tried with, in the order of the settings. Where the
// API asks for none there is one, without a value.
type accepted struct {
	keys   []candidate
	madeUp *answer // what a made-up key got; nil: it was not asked
}

// candidate is a key that the gateway did not refuse.
type candidate struct {
	name, key string
	proven    bool // the gateway's answer shows that it knows the key
}

var keyNames = []string{"primary key", "secondary key"}

// checkKey sends a made-up key, and each key alone. A gateway that knows a key answers otherwise
// than to a made-up one: with the policy's refusal, or with the backend's answer. Answers that
// say the same prove nothing, whatever they say.
func checkKey(ctx context.Context, v *visit) []outcome {
	first := output[*answer](v, "gateway")
	if len(v.f.Keys) == 0 {
		switch {
		case v.f.KeyHeader != "":
			return one(notRun("ApimKey is at fault: see the settings"))
		case first.kind == keyMissing:
			return one(find(cause.KeyMissing, "ApimKeyHeader is none, and the gateway says: "+first.saw(), v.fill()))
		}
		v.out = &accepted{keys: []candidate{{name: "no key", proven: true}}}
		return one(ok("the API asks for none"))
	}
	answers := make([]answer, len(v.f.Keys))
	var madeUp *answer
	var all sync.WaitGroup
	for i, k := range v.f.Keys {
		all.Go(func() { answers[i] = v.probe(ctx, k.Reveal(), "") })
	}
	if first.kind != reached { // a call that needs no key would only be made once more
		all.Go(func() {
			a := v.probe(ctx, madeUpKey(), "")
			madeUp = &a
		})
	}
	all.Wait()
	return v.judgeKeys(*first, madeUp, answers)
}

// madeUpKey has the form of a key, and is nobody's.
func madeUpKey() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}

func (v *visit) judgeKeys(first answer, madeUp *answer, answers []answer) []outcome {
	var all []outcome
	known := &accepted{madeUp: madeUp}
	for i, a := range answers {
		name := keyNames[min(i, 1)]
		saw := name + " alone: " + a.saw()
		o, proven := v.judgeKey(first, madeUp, a, saw)
		all = append(all, o)
		if o.status != Finding {
			known.keys = append(known.keys, candidate{name: name, key: v.f.Keys[i].Reveal(), proven: proven})
		}
	}
	if len(known.keys) == 0 {
		return all
	}
	v.out = known
	for i := range all { // calls go on with the other one
		if all[i].anchor == cause.KeyInvalid {
			all[i].status = Warning
		}
	}
	return all
}

// judgeKey compares one key's answer with those to no key and to a made-up one.
func (v *visit) judgeKey(first answer, madeUp *answer, a answer, saw string) (o outcome, proven bool) {
	o, trouble := v.trouble(a)
	switch {
	case a.kind == keyMissing:
		o = find(cause.KeyMissing, saw, v.fill())
		m := headerOfRealm().FindStringSubmatch(a.header.Get("Www-Authenticate"))
		if m != nil && !strings.EqualFold(m[1], v.f.KeyHeader) {
			o.saw += "; it looks for the header " + m[1] + ", not " + v.f.KeyHeader
			o.fix = "set ApimKeyHeader to " + m[1]
		}
		return o, false
	case a.kind == keyInvalid:
		return find(cause.KeyInvalid, saw, v.fill()), false
	case trouble:
		o.saw = saw
		return o, false
	case first.kind == reached:
		return warn(cause.TokenUnchecked, saw+": the backend was reached without a token, and without a key", v.fill()), true
	case madeUp == nil || madeUp.kind == nothing:
		return warn(cause.KeyUnproven, saw+"; a made-up key got no answer to compare with", v.fill()), false
	case a.says(*madeUp) && first.says(*madeUp):
		return warn(cause.KeyUnproven, saw+", and the same without a key and with a made-up one", v.fill()), false
	case a.says(*madeUp):
		return find(cause.KeyInvalid, saw+", which is what a made-up key gets", v.fill()), false
	case a.kind == reached || a.kind == foreign404:
		return warn(cause.TokenUnchecked, saw+": the backend was reached without a token", v.fill()), true
	}
	return ok("%s; a made-up key: %s", saw, madeUp.saw()), true
}

// says reports whether two answers say the same: their status, and their words without what is
// new in each answer, such as ids and times.
func (a answer) says(b answer) bool {
	return a.status == b.status && a.kind == b.kind && a.words == b.words
}

// changing is what a text may have new in each answer: whatever holds a digit.
var changing = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[\pL\d_:.+/=-]*\d[\pL\d_:.+/=-]*`) })

// wordsOf is an answer's text for comparison. key is what was sent, which the answer may repeat.
func wordsOf(body []byte, key string) string {
	text := string(body)
	if key != "" {
		text = strings.ReplaceAll(text, key, "0")
	}
	return strings.Join(strings.Fields(changing().ReplaceAllString(text, "0")), " ")
}

// checkCall is the last probe: key and token, as a call has them. Keys of which nothing is proven
// are tried one after the other: the token may bring out which of them is right.
func checkCall(ctx context.Context, v *visit) []outcome {
	if v.route.spared {
		o := notRun("this function sends a method that doctor does not send unasked")
		o.fix = "handler doctor -call"
		return one(o)
	}
	known := output[*accepted](v, "key")
	if known == nil {
		return one(notRun("no key was accepted"))
	}
	tok := output[*held](v, "token").value
	for _, k := range known.keys {
		if k.proven {
			return one(v.judgeCall(v.probe(ctx, k.key, tok), "key and token: "))
		}
	}
	var all []outcome
	for _, k := range known.keys {
		a := v.probe(ctx, k.key, tok)
		if !a.refuses() {
			for i := range all { // another key works
				all[i] = warn(cause.KeyInvalid, all[i].saw+"; the "+k.name+" is taken", v.fill())
			}
			return append(all, v.judgeCall(a, k.name+" and token: "))
		}
		o := v.judgeCall(a, k.name+" and token: ")
		switch o.anchor {
		case cause.NotTheGateways, cause.RefusalUnclear, cause.TokenRefused:
			o = find(cause.KeyUnproven,
				o.saw+"; whether it is the key, the token or the backend cannot be told", v.fill())
		}
		all = append(all, o)
	}
	return all
}

// refuses reports whether somebody says no to who calls.
func (a answer) refuses() bool { return a.status == 401 || a.status == 403 }

// judgeCall makes an outcome of the answer to key and token. what was sent stands in front of it.
func (v *visit) judgeCall(a answer, what string) outcome {
	saw := what + a.saw()
	switch o, trouble := v.trouble(a); {
	case a.kind == tokenRefused:
		return v.refusedCall(a, saw)
	case a.kind == unclear:
		return v.unclearCall(a, saw)
	case a.kind == keyMissing || a.kind == keyInvalid:
		return find(cause.KeyInvalid, saw+", although it was accepted a moment ago", v.fill())
	case a.kind == foreign:
		return find(cause.NotTheGateways, saw, v.fill())
	case a.kind == foreign404 || a.kind == noOperation && v.route.guessed:
		return warn(cause.BackendNotFound, saw, v.fill())
	case a.kind == backendError:
		o.status, o.saw = Warning, saw // key and token were accepted
		return o
	case trouble:
		o.saw = saw
		return o
	}
	return ok("%s", saw)
}
