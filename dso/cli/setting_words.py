"""The settings of a what-if as the help texts list them (what they do: `dso.studies`)."""

from typing import Final

SETTINGS: Final = """\
settings (KEY=VALUE; a value is written as in TOML, quotes around a plain word may be left out):
  name=TEXT                                formulation=ac|lindistflow|copper_plate|branch_flow_soc
  import_price.factor=1.2                  times the import price; below 0 turns it round
  import_price.shift_eur_per_mwh=-5        added to the import price
  import_price.eur_per_mwh=40              instead of it: one number, or a list with one per period
  import_price.file=prices.csv             instead of it: period_start,eur_per_mwh
  import_mw_max=8.5  export_mw_max=none    caps at the substation [MW]
  limits.vm_pu_min=0.95                    likewise vm_pu_max, line_loading_percent_max,
                                           trafo_loading_percent_max, scarcity_price_eur_per_mwh
  line.ID.max_i_ka=0.4                     rating; likewise parallel, length_km, r_ohm_per_km,
                                           x_ohm_per_km, in_service, closed (both its switches)
  trafo.ID.tap_pos=-1                      likewise sn_mva, parallel, in_service, closed
  shunt.ID.q_mvar=-0.3                     likewise p_mw, in_service; - is a capacitor
  ext_grid.vm_pu=1.02                      voltage of the substation
  load.scale=1.1  sgen.scale=2             all of them, with the orders that name them
  load.ID.scale=1.1  sgen.PV.scale=2       one, or those whose technology begins with the word
  battery.NAME={bus=12, p_mw=1, energy_mwh=2, efficiency=0.95}
                                           added; efficiency is that of each way; begins empty
                                           unless energy_mwh_start says otherwise
  generation.NAME={bus=12, p_mw=3, like="sgen:5"}
                                           added; follows that element's share of its own power
                                           ("flat" without like); price_eur_per_mwh=0,
                                           must_run=false
  demand.NAME={bus=12, p_mw=0.5, like="load:7"}
                                           added, as generation; must_take=true
  order.ID={kind="generation", ...}        added or replaced, fields as in orders.json
  order.ID.remove=true  order.ID.scale=0.5
  orders.scale=1.1  orders.storage.scale=2 all orders, or those of a kind"""
