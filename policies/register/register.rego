package admission.register

import data.admission.lib

deny contains violation if some violation in lib.platform_requires_model

deny contains violation if some violation in lib.platform_kind_by_install_only

deny contains violation if some violation in lib.platform_has_no_parent

deny contains violation if some violation in lib.removed_stays_removed

deny contains violation if some violation in lib.workspace_requires_secrets

deny contains violation if some violation in lib.url_safety

deny contains violation if some violation in lib.workspace_dir_safe

deny contains violation if some violation in lib.workspace_access_values

deny contains violation if some violation in lib.kind_values

deny contains violation if some violation in lib.delivery_mode_values

deny contains violation if some violation in lib.mcp_server_present_type

deny contains violation if some violation in lib.tier_range

deny contains violation if some violation in lib.budget_within_limit

deny contains violation if some violation in lib.names_single_line
