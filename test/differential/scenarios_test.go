package differential

// scenarios are all that is compared, in a fixed order.
func scenarios() []scenario {
	var all []scenario
	all = append(all, endpointScenarios()...)
	all = append(all, functionScenarios()...)
	all = append(all, connectorScenarios()...)
	all = append(all, updateScenarios()...)
	all = append(all, packageScenarios()...)
	all = append(all, legacyScenarios()...)
	all = append(all, fieldScenarios()...)
	return append(all, randomScenarios()...)
}
