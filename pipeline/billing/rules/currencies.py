"""The currencies of ISO 4217 and how many decimals each is paid in.

Left out are the codes nothing is billed in: metals, bond units, testing and "no currency". BGN and ANG were
withdrawn lately and stay, for the months that are still corrected in them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_WITH_TWO_DECIMALS: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR "
    "RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD "
    "TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
_WITH_NONE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"
_WITH_FOUR: Final = "CLF UYW"

MINOR_UNITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        code: decimals
        for decimals, codes in ((2, _WITH_TWO_DECIMALS), (0, _WITH_NONE), (3, _WITH_THREE), (4, _WITH_FOUR))
        for code in codes.split()
    }
)
"""The decimals of each currency's smallest unit.

>>> MINOR_UNITS["ZAR"], MINOR_UNITS["JPY"], MINOR_UNITS["KWD"]
(2, 0, 3)
"""
