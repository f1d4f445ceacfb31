package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// HardCoded looks facts up, decides in Go and answers. Nobody can tell afterwards what it decided, or why.
type HardCoded struct{ Flags }

const highestTier = 4

// Run serves until ctx ends.
func (h *HardCoded) Run(ctx context.Context) error {
	db, err := connect(ctx, h.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	return serve(ctx, h.Listen, func(ctx context.Context, asked registration, _ json.RawMessage) ([]violation, error) {
		known, err := lookUp(ctx, db, asked.ID)
		if err != nil {
			return nil, err
		}
		return violationsOf(asked, known), nil
	})
}

func violationsOf(asked registration, known facts) []violation {
	all := []violation{}
	deny := func(when bool, reason, message string) {
		if when {
			all = append(all, violation{reason, message})
		}
	}
	if w := known.Workspace; w != nil {
		deny(w.Kind == "platform" && !slices.Contains(known.SecretKeys, "MODEL"), "model_missing", "The platform agent has no MODEL secret of its own.")
		deny(w.Runtime == "langgraph" && !slices.Contains(known.SecretKeys, "OPENAI_API_KEY"), "secret_missing", "The secret OPENAI_API_KEY is missing.")
		deny(w.Status == "removed", "removed", "The workspace has been removed.")
		deny(w.Tier > highestTier, "tier_unknown", "The workspace has a tier outside the allowed range.")
	}
	parsed := read(asked.URL)
	deny(!parsed.Valid && asked.DeliveryMode == "push", "url_invalid", "The URL is missing or cannot be read.")
	if address, isAddress := addressOf(parsed.Host); isAddress {
		for _, network := range refused() {
			deny(network.Contains(address), "url_refused", fmt.Sprintf("The address is in %s.", network))
		}
	}
	return all
}

func addressOf(host string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return address.Unmap(), err == nil
}

// refused are networks that agents may not have addresses of.
func refused() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	}
}
