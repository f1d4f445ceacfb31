package admission.lib

# The rules that hold for every hook. A hook adds its own to them.

every_hook contains violation if some violation in platform_requires_model

every_hook contains violation if some violation in platform_kind_by_install_only

every_hook contains violation if some violation in platform_has_no_parent

every_hook contains violation if some violation in removed_stays_removed

every_hook contains violation if some violation in workspace_requires_secrets

every_hook contains violation if some violation in url_safety

every_hook contains violation if some violation in workspace_dir_safe

every_hook contains violation if some violation in workspace_access_values

every_hook contains violation if some violation in kind_values

every_hook contains violation if some violation in delivery_mode_values

every_hook contains violation if some violation in mcp_server_present_type

every_hook contains violation if some violation in tier_range

every_hook contains violation if some violation in budget_within_limit

every_hook contains violation if some violation in names_single_line
