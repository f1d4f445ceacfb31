package opa

import "gatehouse/server/admission"

// What the tests look into.
var InputValue = inputValue

const MaxSourceFiles = maxSourceFiles

func (c Case) Input() admission.Input { return c.input }

func (c Case) Data() map[string]any { return c.data }

var Merge = merge
