"""Languages as an index names them (`content_languages`): by ISO 639-3, where the options have 639-1."""

from collections.abc import Sequence

# ISO 639-1, and the 639-3 code that Common Crawl has for what its detector (CLD2) finds.
_CODES = """
aa:aar ab:abk af:afr ak:aka am:amh ar:ara as:asm ay:aym az:aze ba:bak be:bel bg:bul bh:bih bi:bis bn:ben
bo:bod br:bre bs:bos ca:cat co:cos cs:ces cy:cym da:dan de:deu dv:div dz:dzo el:ell en:eng eo:epo es:spa
et:est eu:eus fa:fas fi:fin fj:fij fo:fao fr:fra fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau
he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye ia:ina id:ind ie:ile ig:ibo ik:ipk is:isl it:ita iu:iku iw:heb
ja:jpn jv:jav jw:jav ka:kat kk:kaz kl:kal km:khm kn:kan ko:kor ks:kas ku:kur ky:kir la:lat lb:ltz lg:lug
ln:lin lo:lao lt:lit lv:lav mg:mlg mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya na:nau ne:nep
nl:nld no:nor ny:nya oc:oci om:orm or:ori pa:pan pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron ru:rus
rw:kin sa:san sd:snd sg:sag si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun
sv:swe sw:swa ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi
ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wo:wol xh:xho yi:yid yo:yor za:zha zh:zho zu:zul
"""
_THREE = dict(pair.split(":") for pair in _CODES.split())


def three_letter(languages: Sequence[str]) -> tuple[str, ...]:
    """Return the ISO 639-3 codes of languages by their ISO 639-1 codes.

    Raises:
        ValueError: one is not known, or none is named: then no capture is foreign.
    """
    if not languages:
        raise ValueError("--skip-foreign-captures needs --languages")
    unknown = [code for code in languages if code not in _THREE]
    if unknown:
        raise ValueError(f"--skip-foreign-captures knows no language {', '.join(unknown)}")
    return tuple(_THREE[code] for code in languages)
