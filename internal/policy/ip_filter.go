package policy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// ipFilter is <ip-filter>: https://learn.microsoft.com/azure/api-management/ip-filter-policy
var ipFilter = kind{
	name: "ip-filter", sections: []Section{Inbound}, build: buildIPFilter,
	spec: &spec{
		attrs: []attrSpec{{name: "action", required: true, check: oneOf("allow", "forbid")}, {name: "id"}},
		children: []childSpec{
			{name: "address", spec: &spec{text: needText}},
			{name: "address-range", spec: &spec{attrs: []attrSpec{
				{name: "from", required: true, check: ipAddress}, {name: "to", required: true, check: ipAddress},
			}}},
		},
		more: func(e *element) Errors {
			if len(e.children) == 0 {
				return Errors{e.fault("element <ip-filter> needs an <address> or an <address-range>")}
			}
			return nil
		},
	},
}

func ipAddress(value string) error {
	if _, err := netip.ParseAddr(value); err != nil {
		return fmt.Errorf("want an IP address")
	}
	return nil
}

type addressFilter struct {
	allow  bool
	ranges [][2]netip.Addr
}

func buildIPFilter(e *element) (statement, Errors) {
	f := addressFilter{allow: e.attr("action") == "allow"}
	var faults Errors
	for _, c := range e.children {
		from, to := c.attr("from"), c.attr("to")
		if c.name == "address" {
			from = strings.TrimSpace(c.text)
			to = from
		}
		low, err := netip.ParseAddr(from)
		high, _ := netip.ParseAddr(to)
		switch {
		case err != nil:
			faults = append(faults, c.fault("address is %q: want an IP address", from))
		case low.BitLen() != high.BitLen() || high.Less(low):
			faults = append(faults, c.fault("address range from %s to %s is empty", from, to))
		}
		f.ranges = append(f.ranges, [2]netip.Addr{low, high})
	}
	return f, faults
}

func (f addressFilter) run(e *evaluation) bool {
	rule := Rule{Result: Pass, Want: "an address that is listed", Got: "unknown"}
	if !f.allow {
		rule.Want = "an address that is not listed"
	}
	address, err := netip.ParseAddr(e.Request.RemoteAddr)
	if err != nil {
		if with, err := netip.ParseAddrPort(e.Request.RemoteAddr); err == nil {
			address = with.Addr()
		}
	}
	address = address.Unmap().WithZone("")
	if !address.IsValid() && e.Offline {
		rule.Result, rule.Why = NotChecked, "the address that the gateway will see is not known here"
		e.note(rule)
		return true
	}
	listed := false
	for _, r := range f.ranges {
		listed = listed || address.BitLen() == r[0].BitLen() && !address.Less(r[0]) && !r[1].Less(address)
	}
	if address.IsValid() {
		rule.Got = address.String()
	}
	if listed == f.allow && address.IsValid() {
		e.note(rule)
		return true
	}
	rule.Result, rule.Why = Refuse, "the caller's address is not allowed"
	rule.Fixes = []Fix{{SidePolicy, "let the outbound addresses of the function app in"}}
	e.note(rule)
	// The service writes this body without blanks, other than its own errors.
	e.refuse("CallerIpNotAllowed", fmt.Sprintf("Caller IP address %s is not allowed. Access denied.", rule.Got), &Response{
		Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"statusCode":403,"message":"Forbidden"}`,
	})
	return false
}
